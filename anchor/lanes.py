"""Pulling from the queue: one lane per class, function and place, permits first.

A lane asks the stream for exactly as many jobs as it holds permits for, and only when there
is reason to believe that jobs wait: it was told of an admission, the last delivery said more
are pending, or the sweeper counted some. It waits on the server for a tenth of a second at
most with a permit in hand, so idle lanes take no slot from busy ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import nats.errors
import structlog
from nats.js import api
from nats.js.errors import APIError

from anchor.registry import Instance
from anchor.slots import Slots
from contracts import streams, subjects
from contracts.bus import Bus
from contracts.pull import Delivery, Exhausted, PullError, PullInbox

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 64
_PATIENCE_S = 5.0
LINGER_S = 0.1
"""How long a pull that finds nothing may hold its permits."""
_RETRY_S = 0.5
_INACTIVE_S = 3600.0
_MAX_ACK_PENDING = 65536

Start = Callable[[Delivery, Instance], Awaitable[None]]


class Lane:
    """Jobs of one class and function that wait at one place."""

    def __init__(self, bus: Bus, slots: Slots, key: tuple[str, str, str], start: Start, *, ack_wait: float) -> None:
        self.job_class, self.function, self.place = key
        self.subject = subjects.queue(*key)
        self.waiting = 0
        self.held = 0
        self._consumer = "_".join(key)
        self._bus = bus
        self._slots = slots
        self._start = start
        self._ack_wait = ack_wait
        self._admissions = 0
        self._wake = asyncio.Event()
        self._pull: PullInbox | None = None
        slots.when_free(self.function, self._slot_freed)

    def _slot_freed(self) -> None:
        if self.waiting:
            self._wake.set()

    def hint(self, waiting: int) -> None:
        """Believe that at least so many jobs wait here."""
        self.waiting = max(self.waiting, waiting)
        if self.waiting:
            self._wake.set()

    def admitted(self) -> None:
        """One more job was stored here."""
        self.waiting += 1
        self._admissions += 1
        self._wake.set()

    async def run(self) -> None:
        """Pull for ever; a lost consumer or server only delays."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.waiting:
                permits = self._slots.take_many(self.function, self.place, min(self.waiting, _MOST_AT_ONCE))
                if not permits:
                    break
                try:
                    await self._pull_into(permits)
                except (PullError, APIError, nats.errors.Error, TimeoutError) as error:
                    log.info("pull interrupted", lane=self._consumer, reason=str(error) or type(error).__name__)
                    await self._reset()
                    await asyncio.sleep(_RETRY_S)
                finally:
                    for permit in permits:
                        self._slots.release(permit)

    async def _pull_into(self, permits: list[Instance]) -> None:
        """Pull at most one job per permit. Permits that found a job leave the list."""
        pull = self._pull or await self._open()
        # What the server says of the queue is as old as this request: later admissions come on top.
        before = self._admissions
        # Not without waiting: a job is acknowledged to its Anchor a moment before the consumer sees it.
        await pull.request(len(permits), expires=LINGER_S)
        while permits:
            item = await pull.next(within=_PATIENCE_S)
            if item is None:
                continue
            if isinstance(item, Exhausted):
                self.waiting = self._admissions - before
                return
            self.waiting = item.pending + self._admissions - before
            await self._start(item, permits.pop())

    async def _open(self) -> PullInbox:
        await self._bus.js.add_consumer(
            streams.JOBS,
            api.ConsumerConfig(
                # With a name, nats-py asks on the subject that names the filter too; Anchors may use no other.
                name=self._consumer,
                durable_name=self._consumer,
                filter_subject=self.subject,
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=self._ack_wait,
                max_deliver=-1,
                max_ack_pending=_MAX_ACK_PENDING,
                inactive_threshold=_INACTIVE_S,
            ),
        )
        self._pull = await PullInbox.open(self._bus, streams.JOBS, self._consumer)
        return self._pull

    async def _reset(self) -> None:
        if self._pull is not None:
            await self._pull.close()
            self._pull = None
