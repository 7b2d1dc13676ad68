"""Paired mode: jobs that are run a second time, on the version on its way, and compared.

A twin is a durable job of its own, in class `batch` and under a client's name of its own, so that it
comes after what people asked for. People get the result of the job itself, which the old version ran.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from anchor.budget import Budget
from anchor.calls import Served
from anchor.dispatcher import Dispatcher
from anchor.evidence import Counting
from anchor.ledger import Ledger
from anchor.registry import Registry
from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.errors import MmnError, Unavailable
from contracts.evidence import Pairs, bucket_of
from contracts.jobs import Job, twin_id_of
from contracts.results import Result
from contracts.storage import NotStored, store

log = structlog.get_logger(__name__)

MOST_PER_S = 20.0
"""Twins made by one Anchor: enough to compare, and no second load for nodes and targets."""
_MOST_WAITING = 256
_LOOK_EVERY_S = 0.5
_LOOKS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Ended:
    """A twin that has its result, while that of its job is not known yet."""

    twin: Job
    rollout: str
    old_digest: str
    failure: str | None
    run_ns: int


def twin_of(job: Job, digest: str) -> Job:
    """The job that runs another one again on the version with this digest."""
    return replace(
        job,
        id=twin_id_of(job.id, digest),
        request=replace(job.request, job_class="batch", key=None),
        client=f"rollout:{job.request.function}",
        digest=digest,
        pair=job.id,
    )


def paired(old: Result, failure: str | None, run_ns: int) -> Pairs:
    """What one pair says: the old version's result beside what the new one measured."""
    before = old.failure.code.value if old.failure is not None else None
    return Pairs(
        seen=1,
        alike=int(before == failure),
        only_old_failed=int(before is not None and failure is None),
        only_new_failed=int(before is None and failure is not None),
        old_codes={before: 1} if before is not None else {},
        new_codes={failure: 1} if failure is not None else {},
        old_run={bucket_of(old.duration_ns or 0): 1},
        new_run={bucket_of(run_ns): 1},
    )


class Twins:
    """Makes twins of admitted jobs, and compares each with its job when both have ended."""

    def __init__(
        self, bus: Bus, registry: Registry, dispatcher: Dispatcher, ledger: Ledger, counting: Counting
    ) -> None:
        self._bus = bus
        self._registry = registry
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._counting = counting
        # Chance chooses samples here, it guards nothing.
        self._chance = random.Random()
        self._rate = Budget(floor_per_s=MOST_PER_S, burst=MOST_PER_S, share=0.0)
        self._wanted: asyncio.Queue[Job] = asyncio.Queue(_MOST_WAITING)
        self._ended: deque[_Ended] = deque(maxlen=_MOST_WAITING)
        dispatcher.on_twin = self._finished

    def consider(self, job: Job) -> None:
        """A job was accepted: give it a twin if its function's rollout asks for one."""
        versions = self._registry.versions(job.request.function)
        if versions.trial is None or self._chance.random() >= versions.mirrored or self._wanted.full():
            return
        if self._rate.take(clock.monotonic_ns()):
            self._wanted.put_nowait(twin_of(job, versions.trial))

    async def run(self) -> None:
        """Make and compare until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._make())
            tasks.create_task(self._compare())

    async def _make(self) -> None:
        while True:
            twin = await self._wanted.get()
            request = twin.request
            subject = subjects.queue(request.job_class, request.function, twin.place)
            try:
                data = codec.encode(twin, codec.MSGPACK)
                sequence = await store(self._bus, subject, data, headers={"Nats-Msg-Id": twin.id})
            except NotStored as error:
                # A queue that is full needs its places for people.
                log.info("no twin", job=twin.pair, reason=str(error))
                continue
            await self._ledger.event(twin, "accepted", sequence=sequence)
            self._dispatcher.lanes.admitted(twin)

    def _finished(self, twin: Job, served: Served) -> None:
        wish, _ = self._registry.deployment(twin.request.function)
        if wish is not None and wish.rollout is not None and wish.rollout.digest == twin.digest:
            self._ended.append(_Ended(twin, wish.rollout.id, wish.digest, served.reply.failure, served.run_ns))

    async def _compare(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for _ in range(min(len(self._ended), _LOOKS_AT_ONCE)):
                ended = self._ended.popleft()
                try:
                    known = await self._compared(ended)
                except Unavailable as error:
                    log.info("pair not compared yet", job=ended.twin.pair, reason=str(error))
                    known = False
                except MmnError as error:
                    log.warning("pair not compared", job=ended.twin.pair, reason=str(error))
                    known = True
                if not known and clock.wall_ns() < clock.epoch_ns(ended.twin.deadline):
                    self._ended.append(ended)

    async def _compared(self, ended: _Ended) -> bool:
        """Whether the job's own result is there; it is compared when the old version made it. Raises Unavailable."""
        assert ended.twin.pair is not None
        old = await self._ledger.result(ended.twin.pair)
        if old is not None and old.digest == ended.old_digest:
            pair = paired(old, ended.failure, ended.run_ns)
            self._counting.paired(ended.rollout, ended.twin.request.function, pair)
        return old is not None
