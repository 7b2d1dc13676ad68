"""What workers use of the machine, looked at every second. Whoever is over a limit is killed, for a reason that is told."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts import clock, heart
from runtime import scratch
from runtime.forks import Forks
from runtime.settings import Settings
from runtime.workers import Worker

EVERY_S: Final = 1.0
_MIB = 1024 * 1024
_S = 1_000_000_000
_TICK_NS = _S // os.sysconf("SC_CLK_TCK")


class Share:
    """Processors that one process uses on average over a window, told by what it has used in all. Pure."""

    def __init__(self, window_s: float) -> None:
        self._window_ns = int(window_s * _S)
        self._seen: deque[tuple[int, int]] = deque()

    def take(self, now_ns: int, used_ns: int) -> float | None:
        """Take a reading. Returns the average over the window, None before one has passed."""
        self._seen.append((now_ns, used_ns))
        while len(self._seen) > 2 and now_ns - self._seen[1][0] >= self._window_ns:
            self._seen.popleft()
        since_ns, before_ns = self._seen[0]
        if now_ns - since_ns < self._window_ns:
            return None
        return (used_ns - before_ns) / (now_ns - since_ns)


def cpu_ns(pid: int) -> int | None:
    """Processor time that a process has used in all; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_NS
    except (OSError, IndexError, ValueError):
        return None


class Watch:
    """Watches memory, disk and processor time of every worker."""

    def __init__(self, settings: Settings, forks: Forks) -> None:
        self._settings = settings
        self._forks = forks
        self._shares: dict[str, Share] = {}

    async def run(self, workers: Mapping[str, Worker]) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            for worker in list(workers.values()):
                if worker.pid is not None and not worker.ended.done():
                    reason = self._memory(worker) or self._processor(worker) or await self._disk(worker)
                    if reason:
                        worker.kill(f"{reason}: killed")
            self._shares = {name: share for name, share in self._shares.items() if name in workers}

    def _memory(self, worker: Worker) -> str:
        if worker.memory_mb is None:
            return ""
        limit = worker.memory_mb * _MIB
        # What is shared with the zygote is nobody's fault.
        used = (heart.resident_bytes(worker.pid) or 0) - self._forks.resident
        return f"uses {used // _MIB} MB of memory, over its limit of {limit // _MIB}" if used > limit else ""

    def _processor(self, worker: Worker) -> str:
        used_ns = cpu_ns(worker.pid) if worker.pid is not None else None
        if used_ns is None:
            return ""
        share = self._shares.setdefault(worker.instance, Share(self._settings.cpu_window_s))
        found = share.take(clock.monotonic_ns(), used_ns)
        limit, window = self._settings.cpu_share, self._settings.cpu_window_s
        if found is None or found <= limit:
            return ""
        return f"used {found:.2f} processors over {window:g} s, over its limit of {limit:g}"

    async def _disk(self, worker: Worker) -> str:
        if worker.scratch is None or worker.pid is None:
            return ""
        limit = self._settings.scratch_mb
        try:
            used = await asyncio.to_thread(scratch.used, worker.scratch, worker.pid)
        except scratch.TooMuch as error:
            return f"its scratch folder holds {error}"
        return f"uses {used // _MIB} MB of disk, over its limit of {limit}" if used > limit * _MIB else ""
