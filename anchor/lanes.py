"""Pulling from the queue: one lane per class, function and place, permits first.

A lane asks the stream for exactly as many jobs as the dealer gave it permits for, and wants
permits only when there is reason to believe that jobs wait: it was told of an admission, the
last delivery said more are pending, or the sweeper counted some. It waits on the server for a
tenth of a second at most with a permit in hand, so idle lanes take no slot from busy ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import nats.errors
import structlog
from nats.js import api
from nats.js.errors import APIError

from anchor.dealer import Dealer
from anchor.registry import Instance
from anchor.slots import Slots
from contracts import clock, streams, subjects
from contracts.bus import Bus
from contracts.jobs import Job
from contracts.pull import Delivery, Exhausted, PullError, PullInbox

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 64
_PATIENCE_S = 5.0
LINGER_S = 0.1
"""How long a pull that finds nothing may hold its permits."""
_RETRY_S = 0.5
_INACTIVE_S = 3600.0
_MAX_ACK_PENDING = 65536
IDLE_NS = 600_000_000_000
"""How long nothing has come through a lane that is let go."""

Start = Callable[[Delivery, Instance], Awaitable[None]]
Key = tuple[str, str, str]
"""Class, function and place."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a lane was when something was asked of the server."""

    admissions: int = 0
    deliveries: int = 0


class Lane:
    """Jobs of one class and function that wait at one place.

    `waiting` is how many are believed to wait, in nobody's hand; `held` are in this Anchor's.
    """

    def __init__(self, bus: Bus, slots: Slots, dealer: Dealer, key: Key, start: Start, *, ack_wait: float) -> None:
        self.key = key
        self.subject = subjects.queue(*key)
        self.waiting = 0
        self.held = 0
        self._consumer = "_".join(key)
        self._bus = bus
        self._slots = slots
        self._dealer = dealer
        self._start = start
        self._ack_wait = ack_wait
        self._admissions = 0
        self._deliveries = 0
        self._delivered = 0
        self._stored = 0
        self._stores = 0
        self._granted: list[Instance] = []
        self._pulling: list[Instance] = []
        self._resting = False
        self._wake = asyncio.Event()
        self._pull: PullInbox | None = None
        dealer.join(self)

    @property
    def wants(self) -> int:
        """Permits it could use besides those it has."""
        if self._resting:
            return 0
        return max(0, min(self.waiting, _MOST_AT_ONCE) - len(self._granted) - len(self._pulling))

    def grant(self, permit: Instance) -> None:
        """Take a permit from the dealer."""
        self._granted.append(permit)
        self._wake.set()

    def mark(self) -> Mark:
        """Where this lane is now, to be given back to `counted`."""
        return Mark(self._admissions, self._deliveries)

    def counted(self, waiting: int, since: Mark) -> None:
        """The stream was counted after `since`: so many jobs waited here."""
        if self._deliveries == since.deliveries:
            # A delivery would have told better. What was admitted since may be counted twice; the next one corrects it.
            self.waiting = max(0, waiting) + self._admissions - since.admissions
        self._dealer.ask(self)

    def admitted(self) -> None:
        """One more job is stored here, or is about to be."""
        self.waiting += 1
        self._admissions += 1
        self._dealer.ask_now(self)

    def withdrawn(self) -> None:
        """A job that was admitted could not be stored."""
        self.waiting = max(0, self.waiting - 1)

    def stored(self, sequence: int) -> None:
        """A job that was admitted is in the stream.

        The pull that went out with it may have ended before, or the server may have counted what is pending before.
        """
        self._stored = max(self._stored, sequence)
        self._stores += 1
        if not self.waiting and self._behind:
            self.waiting = 1
            self._dealer.ask(self)

    @property
    def _behind(self) -> bool:
        """Whether a job that this Anchor stored has not been delivered to it: it waits, or another Anchor has it."""
        return self._stored > self._delivered

    async def run(self) -> None:
        """Pull for ever; a lost consumer or server only delays."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._granted:
                    self._pulling, self._granted = self._granted, []
                    await self._pull_once()
        finally:
            self._release(self._granted)
            await self._reset()

    async def _pull_once(self) -> None:
        try:
            await self._pull_into(self._pulling)
        except (PullError, APIError, nats.errors.Error, TimeoutError) as error:
            log.info("pull interrupted", lane=self._consumer, reason=str(error) or type(error).__name__)
            self._resting = True
            self._release(self._pulling)
            await self._reset()
            await asyncio.sleep(_RETRY_S)
        finally:
            self._resting = False
            self._release(self._pulling)
        self._dealer.ask(self)

    def _release(self, permits: list[Instance]) -> None:
        while permits:
            self._slots.release(permits.pop())

    async def _pull_into(self, permits: list[Instance]) -> None:
        """Pull at most one job per permit. Permits that found a job leave the list."""
        pull = self._pull or await self._open()
        # What the server says of the queue is as old as this request: later admissions come on top.
        before, stores = self._admissions, self._stores
        # Not without waiting: a job is acknowledged to its Anchor a moment before the consumer sees it.
        await pull.request(len(permits), expires=LINGER_S)
        while permits:
            item = await pull.next(within=_PATIENCE_S)
            if item is None:
                continue
            if isinstance(item, Exhausted):
                missed = self._behind and self._stores != stores
                self.waiting = max(self._admissions - before, int(missed))
                return
            self._delivered = max(self._delivered, item.stream_sequence)
            self._deliveries += 1
            self.waiting = max(item.pending + self._admissions - before, int(self._behind))
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
        # The stream may be another one by now, and count anew.
        self._stored = self._delivered = 0
        return self._pull

    async def _reset(self) -> None:
        if self._pull is not None:
            await self._pull.close()
            self._pull = None


@dataclass(slots=True)
class _Kept:
    """A lane in use. `used_ns` is when there was last anything in it."""

    lane: Lane
    used_ns: int
    task: asyncio.Task[None] | None = field(default=None)


class Lanes:
    """The lanes of one Anchor, each made at its first use and let go when nothing has come through it for long.

    Functions and nodes come and go for good, and each would leave some lanes behind.
    """

    def __init__(self, make: Callable[[Key], Lane], dealer: Dealer) -> None:
        self._make = make
        self._dealer = dealer
        self._kept: dict[Key, _Kept] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def run(self, tasks: asyncio.TaskGroup) -> None:
        """Let every lane pull, also those that are made later."""
        self._tasks = tasks
        for kept in self._kept.values():
            kept.task = tasks.create_task(kept.lane.run())

    def of(self, job: Job) -> Lane:
        """The lane that a job waits in."""
        return self._lane((job.request.job_class, job.request.function, job.place))

    def _lane(self, key: Key) -> Lane:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(self._make(key), 0)
            if self._tasks is not None:
                kept.task = self._tasks.create_task(kept.lane.run())
        kept.used_ns = clock.monotonic_ns()
        return kept.lane

    def admitted(self, job: Job) -> Lane:
        """A job was stored, or is about to be: look for it."""
        lane = self.of(job)
        lane.admitted()
        return lane

    @property
    def waiting(self) -> int:
        """Jobs believed to wait in all lanes."""
        return sum(kept.lane.waiting for kept in self._kept.values())

    def waiting_at(self, key: Key) -> int:
        """Jobs believed to wait in one queue."""
        kept = self._kept.get(key)
        return kept.lane.waiting if kept else 0

    def held_by_queue(self) -> dict[Key, int]:
        """Jobs this Anchor has in hand, by queue."""
        return {key: kept.lane.held for key, kept in self._kept.items() if kept.lane.held}

    def marks(self) -> dict[Key, Mark]:
        """Where every lane is, before the stream is counted."""
        return {key: kept.lane.mark() for key, kept in self._kept.items()}

    def counted(
        self, stored: Mapping[Key, int], elsewhere: Mapping[Key, int], since: Mapping[Key, Mark], now_ns: int
    ) -> None:
        """The stream holds so many jobs in each queue, those in hand included; `elsewhere` are in other hands."""
        for key in stored:
            self._lane(key)
        for key, kept in list(self._kept.items()):
            lane = kept.lane
            lane.counted(stored.get(key, 0) - lane.held - elsewhere.get(key, 0), since.get(key, Mark()))
            if lane.waiting or lane.held:
                kept.used_ns = now_ns
            elif now_ns - kept.used_ns > IDLE_NS:
                self._let_go(key, kept)

    def _let_go(self, key: Key, kept: _Kept) -> None:
        del self._kept[key]
        self._dealer.leave(kept.lane)
        if kept.task is not None:
            kept.task.cancel()
