"""Framed messages between a runtime and one worker, over the socket pair the worker inherits.

A frame is four bytes of length, most significant first, and one MessagePack value. The runtime
believes nothing a worker says but its own events: who it is was decided before it was forked.

    worker                          runtime
      Hello(key)          ->          makes a token for this key
                          <-        Start(token, assignment)
      Ready | Unfit       ->
      Beat, ten a second  ->
                          <-        Renew(token)
                          <-        Drain(grace)
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from contracts.functions import Manifest
from contracts.results import Provenance
from runtime.targets import TargetPolicy

MAX_FRAME_BYTES: Final = 1024 * 1024
BEAT_S: Final = 0.1
_HEADER_BYTES = 4
_CHUNK = 64 * 1024
_READS_AT_ONCE = 32
_BACKLOG_BYTES = 4 * MAX_FRAME_BYTES


class Assignment(Struct, frozen=True, kw_only=True):
    """Who a worker is: decided by its runtime, and never by what it loads.

    `code` is the folder of the unpacked bundle, `entry` what to call in it, `targets` what may be measured; `box`,
    `egress` and `gaps` say how it is confined. `nats_ca` is text in PEM, since a worker can open no file of its node.
    """

    function: str
    version: str
    digest: str
    instance: str
    node: str
    labels: dict[str, str]
    manifest: Manifest
    code: str
    entry: str
    scratch: str
    box: str
    egress: Literal["enforced", "advisory"]
    gaps: list[str]
    nats_url: str
    targets: TargetPolicy = TargetPolicy()
    nats_ca: str | None = None
    log_level: str = "info"
    provenance: Provenance | None = None


class Hello(Struct, frozen=True, tag="hello"):
    """The worker runs; this is the public half of the key that it has just made."""

    key: str


class Ready(Struct, frozen=True, tag="ready"):
    """The function is loaded, tested and registered; these are its schemas.

    `note` says what this node lacks, when the function runs but cannot measure here.
    """

    params_schema: dict[str, Any]
    result_schema: dict[str, Any]
    note: str = ""


class Unfit(Struct, frozen=True, tag="unfit"):
    """The worker cannot go on. `blameless`: the function is not the cause, so it never counts as a crash."""

    reason: str
    blameless: bool = False


class Beat(Struct, frozen=True, tag="beat"):
    """The worker's event loop turns."""


class Start(Struct, frozen=True, tag="start"):
    """The token for the worker's key, and what it is to be."""

    token: str
    assignment: Assignment


class Renew(Struct, frozen=True, tag="renew"):
    """A newer token for the same key."""

    token: str


class Drain(Struct, frozen=True, tag="drain"):
    """Take no new call, finish the running ones within `grace_s`, leave."""

    grace_s: float


FromWorker = Hello | Ready | Unfit | Beat
FromRuntime = Start | Renew | Drain


class BrokenFrame(ValueError):
    """What came is not a frame of this protocol."""


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes in, give out every frame that is complete. Raises BrokenFrame."""
        self._buffer += data
        while len(self._buffer) >= _HEADER_BYTES:
            size = int.from_bytes(self._buffer[:_HEADER_BYTES])
            if size > MAX_FRAME_BYTES:
                raise BrokenFrame(f"a frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
            end = _HEADER_BYTES + size
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[_HEADER_BYTES:end])
            del self._buffer[:end]
            yield frame


def frame(message: Struct) -> bytes:
    """One message as it goes over the pair. Raises BrokenFrame when it is too large."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a {type(message).__name__} of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return len(body).to_bytes(_HEADER_BYTES) + body


class Channel:
    """One end of the pair in an event loop.

    `on_message` gets each decoded message, `on_end` is called once with the reason when the
    other side is gone or talks nonsense. Nothing here waits.
    """

    def __init__(
        self,
        sock: socket.socket,
        kind: Any,
        on_message: Callable[[Any], None],
        on_end: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._on_message = on_message
        self._on_end = on_end
        self._frames = Frames()
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(sock, self.receive)

    @property
    def backlog(self) -> int:
        """Bytes that the other side has not taken yet."""
        return len(self._unsent)

    def receive(self) -> None:
        """Handle everything that waits in the pair now."""
        for _ in range(_READS_AT_ONCE):
            if not self._open:
                return
            try:
                data = self._sock.recv(_CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(error.strerror or type(error).__name__)
                return
            if not data:
                self._end("closed")
                return
            try:
                for body in self._frames.feed(data):
                    self._on_message(self._decoder.decode(body))
            except (ValueError, RecursionError, msgspec.DecodeError) as error:
                # Deep or badly encoded frames raise more than the decoder's own errors.
                self._end(f"broken frame: {error}")
                return

    def send(self, message: Struct) -> None:
        """Send now, or as soon as the other side takes it. Raises BrokenFrame when it is too large."""
        if not self._open:
            return
        self._unsent += frame(message)
        self._flush()
        if len(self._unsent) > _BACKLOG_BYTES:
            self._end("the other side does not read")

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = self._sock.send(self._unsent)
                del self._unsent[:sent]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._sock, self._flush)
            return
        except OSError:
            # The reading side tells why, with what the other had still to say.
            self._unsent.clear()
        self._loop.remove_writer(self._sock)

    def _end(self, reason: str) -> None:
        if self._open:
            self.close()
            self._on_end(reason)

    def close(self) -> None:
        """Close this end; `on_end` is not called."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
