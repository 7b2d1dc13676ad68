"""Looks through the queue without consuming: nothing accepted may lie there for ever.

Every second it counts what waits where, so that lanes learn of jobs that other Anchors
admitted or left behind. Jobs past their deadline, and jobs of functions that no longer exist,
get a result that says so and leave the queue.
"""

from __future__ import annotations

import asyncio

import nats.errors
import structlog

from anchor.dispatcher import Dispatcher
from anchor.lanes import Key, Mark
from anchor.ledger import Ledger
from anchor.queue import Queue, Queued
from anchor.registry import Registry
from anchor.shares import Shares
from contracts import clock, streams, subjects
from contracts.bus import Bus
from contracts.errors import MmnError, Unavailable
from contracts.failure import Code, Failure, failed
from contracts.jobs import Job
from contracts.tail import StreamStatus, stream_status

log = structlog.get_logger(__name__)

_READ_AT_ONCE = 100
_LATE_NS = 1_000_000_000
"""Grace after a deadline: an Anchor that has the job in hand closes it better than a sweeper."""


class Sweeper:
    """One Anchor's sweeper. Several at once do no harm: a result is stored once."""

    def __init__(
        self, bus: Bus, registry: Registry, dispatcher: Dispatcher, ledger: Ledger, shares: Shares, *, every: float
    ) -> None:
        self._bus = bus
        self._shares = shares
        self._registry = registry
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._queue = Queue(bus)
        self._every = every
        self._next: dict[str, int] = {}
        self.swept = 0

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except (Unavailable, nats.errors.Error, TimeoutError) as error:
                log.info("sweep interrupted", reason=str(error) or type(error).__name__)
            await asyncio.sleep(self._every)

    async def sweep(self) -> None:
        """Look at every queue once."""
        marks = self._dispatcher.lanes.marks()
        status = await stream_status(self._bus, streams.JOBS, subjects=subjects.QUEUES)
        self._count(status, marks)
        for subject in status.state.subjects:
            await self._read(subject)
        self._next = {subject: at for subject, at in self._next.items() if subject in status.state.subjects}

    def _count(self, status: StreamStatus, marks: dict[Key, Mark]) -> None:
        stored = {subjects.queue_parts(subject): count for subject, count in status.state.subjects.items()}
        known = {key: count for key, count in stored.items() if self._registry.instances(key[1])}
        now = clock.monotonic_ns()
        self._dispatcher.lanes.counted(known, self._shares.elsewhere(now), marks, now)
        if status.config.max_msgs_per_subject > 0:
            self._dispatcher.queue_bound = status.config.max_msgs_per_subject

    async def _read(self, subject: str) -> None:
        """Read some messages of one queue, going on where the last sweep stopped."""
        held = set(self._dispatcher.held())
        sequence = self._next.get(subject, 1)
        for _ in range(_READ_AT_ONCE):
            stored = await self._queue.next(sequence, subject)
            if stored is None:
                self._next[subject] = 1
                return
            sequence = stored.seq + 1
            await self._judge(stored, held)
        self._next[subject] = sequence

    async def _judge(self, stored: Queued, held: set[str]) -> None:
        try:
            job = stored.job()
        except MmnError as error:
            log.warning("queued message is not a job", subject=stored.subject, error=str(error))
            await self._queue.delete(stored.seq)
            return
        if job.id in held:
            return
        verdict = self._verdict(job)
        if verdict is None:
            return
        if await self._ledger.close_job(job, verdict):
            await self._ledger.closed(job, verdict, stored=True)
        await self._queue.delete(stored.seq)
        self.swept += 1

    def _verdict(self, job: Job) -> Failure | None:
        if clock.wall_ns() > clock.epoch_ns(job.deadline) + _LATE_NS:
            return failed(Code.EXPIRED, "the deadline passed while the job waited for a worker")
        if self._registry.deleted(job.request.function):
            return failed(Code.FUNCTION_GONE, f"{job.request.function} was removed while the job waited")
        if not self._registry.versions(job.request.function).runs(job.digest):
            return failed(Code.FUNCTION_GONE, "the version it was to run on is gone")
        return None
