"""What a worker prints: read line by line, bounded in length and in rate."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from contracts.clock import monotonic_ns

LONGEST_LINE = 2000
LINES_A_SECOND = 50
_CHUNK = 64 * 1024
_S = 1_000_000_000


class Output:
    """Reads the pipe behind a worker's standard output and error.

    It always reads, so that a worker that prints much is not held up, and drops what is too much.
    """

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._on_line = on_line
        self._part = b""
        self._window_ns = 0
        self._lines = 0
        self._loop = asyncio.get_running_loop()
        self._open = True
        self.last = ""
        self._loop.add_reader(descriptor, self.read)

    def read(self) -> None:
        """Take what waits in the pipe now."""
        if not self._open:
            return
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, rest = (self._part + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._part = rest
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        text = line[:LONGEST_LINE].decode(errors="replace").rstrip()
        if not text:
            return
        self.last = text
        now = monotonic_ns()
        if now - self._window_ns > _S:
            self._window_ns, self._lines = now, 0
        self._lines += 1
        if self._lines <= LINES_A_SECOND:
            self._on_line(text)
        elif self._lines == LINES_A_SECOND + 1:
            self._on_line("... more lines within this second are dropped")

    def close(self) -> None:
        """Hand over what is left and close."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._take(self._part)
        self._part = b""
