"""Follow a stream from a cursor and miss nothing that is still kept.

A `Tail` reads through an ephemeral pull consumer and, after any trouble (a missed heartbeat,
a restarted server, a lost consumer), makes a new one behind the last message it handed
out. nats-py's ordered consumers and key-value watches do not come back by themselves.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import nats.errors
import structlog
from nats.js import api
from nats.js.errors import APIError

from contracts.bus import Bus
from contracts.errors import Unavailable
from contracts.pull import Delivery, Exhausted, PullInbox

log = structlog.get_logger(__name__)

Start = int | Literal["all", "new", "last-per-subject"]
"""Where to begin: a stream sequence, everything kept, only what comes, or the last of each subject."""

_BATCH = 256
_EXPIRES_S = 30.0
_HEARTBEAT_S = 1.0
_PATIENCE_S = 2.5
_INACTIVE_S = 60.0


class _StreamState(msgspec.Struct):
    first_seq: int = 0
    last_seq: int = 0
    messages: int = 0
    subjects: dict[str, int] = {}


class _StreamConfig(msgspec.Struct):
    max_msgs_per_subject: int = -1


class StreamStatus(msgspec.Struct):
    """What STREAM.INFO tells. `created` is the stream's incarnation: it changes when it is made anew."""

    created: str
    state: _StreamState
    config: _StreamConfig = msgspec.field(default_factory=_StreamConfig)


async def stream_status(bus: Bus, stream: str, *, subjects: str = "", within: float = 5.0) -> StreamStatus:
    """Ask for a stream's state; with `subjects`, count messages per matching subject.

    Raises Unavailable when JetStream does not answer or has no such stream.
    """
    ask = msgspec.json.encode({"subjects_filter": subjects} if subjects else {})
    try:
        reply = await bus.request(f"$JS.API.STREAM.INFO.{stream}", ask, within=within)
        return msgspec.json.decode(reply.data, type=StreamStatus)
    except (nats.errors.Error, msgspec.DecodeError, TimeoutError) as error:
        raise Unavailable(f"stream {stream} cannot be read: {str(error) or type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything that was kept when the tail began has been handed out."""


class Tail:
    """An endless iterator over a stream's messages, in order, each once.

    After iteration began, `sequence` is the last one handed out. With `mark=True` the iterator yields
    one `CaughtUp` when it has reached the present for the first time.
    """

    def __init__(
        self, bus: Bus, stream: str, *, subject: str | None = None, start: Start = "new", mark: bool = False
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._subject = subject
        self._start = start
        self._mark = mark
        self.sequence = start - 1 if isinstance(start, int) else 0
        self.incarnation = ""

    def __aiter__(self) -> AsyncIterator[Delivery | CaughtUp]:
        return self._follow()

    async def _follow(self) -> AsyncIterator[Delivery | CaughtUp]:
        wait = 0.1
        while True:
            try:
                async for item in self._once():
                    wait = 0.1
                    yield item
            except (Unavailable, APIError, nats.errors.Error, TimeoutError) as error:
                if self._bus.nc.is_closed:
                    return
                log.info("tail interrupted", stream=self._stream, reason=str(error) or type(error).__name__)
                # Jitter, so that a restarted server is not asked by everyone at once.
                await asyncio.sleep(wait * random.uniform(0.5, 1.5))
                wait = min(wait * 2, 5.0)

    async def _policy(self) -> api.ConsumerConfig:
        status = await stream_status(self._bus, self._stream)
        if (self.incarnation and status.created != self.incarnation) or self.sequence > status.state.last_seq:
            log.warning("stream was made anew", stream=self._stream)
            self.sequence = 0
            self._start = "all" if self._start == "new" else self._start
        self.incarnation = status.created
        config = api.ConsumerConfig(
            name=f"tail_{secrets.token_hex(8)}",
            ack_policy=api.AckPolicy.NONE,
            filter_subject=self._subject,
            mem_storage=True,
            inactive_threshold=_INACTIVE_S,
        )
        if self.sequence:
            config.deliver_policy = api.DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = self.sequence + 1
        elif self._start == "new":
            # By sequence, so that an interruption before the first message loses nothing.
            config.deliver_policy = api.DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = status.state.last_seq + 1
            self.sequence = status.state.last_seq
        elif self._start == "last-per-subject":
            config.deliver_policy = api.DeliverPolicy.LAST_PER_SUBJECT
            config.filter_subject = self._subject or ">"
        else:
            config.deliver_policy = api.DeliverPolicy.ALL
        return config

    async def _once(self) -> AsyncIterator[Delivery | CaughtUp]:
        config = await self._policy()
        info = await self._bus.js.add_consumer(self._stream, config)
        pull = await PullInbox.open(self._bus, self._stream, info.name)
        try:
            if self._mark and not info.num_pending:
                self._mark = False
                yield CaughtUp()
            while True:
                left = _BATCH
                await pull.request(left, expires=_EXPIRES_S, heartbeat=_HEARTBEAT_S)
                while left > 0:
                    item = await pull.next(within=_PATIENCE_S)
                    if isinstance(item, Exhausted):
                        break
                    if item is None:
                        continue
                    left -= 1
                    self.sequence = item.stream_sequence
                    yield item
                    if self._mark and item.pending == 0:
                        self._mark = False
                        yield CaughtUp()
        finally:
            await pull.close()


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value in a bucket at a revision; `value` is None when the key was deleted."""

    key: str
    value: bytes | None
    revision: int


class Watch:
    """Follow a key-value bucket: first the current value of every key, `CaughtUp`, then changes."""

    def __init__(self, bus: Bus, bucket: str) -> None:
        self._prefix = f"$KV.{bucket}."
        self._tail = Tail(bus, f"KV_{bucket}", subject=f"{self._prefix}>", start="last-per-subject", mark=True)

    @property
    def incarnation(self) -> str:
        """The bucket's stream as it was found last; another one when the bucket was made anew."""
        return self._tail.incarnation

    async def __aiter__(self) -> AsyncIterator[Entry | CaughtUp]:
        async for item in self._tail:
            if isinstance(item, CaughtUp):
                yield item
                continue
            gone = item.headers.get("KV-Operation") in {"DEL", "PURGE"}
            yield Entry(item.subject.removeprefix(self._prefix), None if gone else item.data, item.stream_sequence)
