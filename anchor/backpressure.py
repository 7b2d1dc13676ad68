"""What the queues of this moment mean for a job that comes now: taken or refused, and how long it waits."""

from __future__ import annotations

from collections.abc import Callable

from anchor import pressure
from anchor.dispatcher import Dispatcher
from anchor.pressure import Capacity, Queues, Shedding
from anchor.registry import Registry
from anchor.turns import BATCH_EVERY
from contracts.errors import Refused
from contracts.jobs import Job
from contracts.subjects import ANY_PLACE

_FREED_SHARE = 10
"""Whom a full queue refuses comes back when about a tenth of it has gone."""


class Backpressure:
    """`lag_ns` tells the largest recent delay of this Anchor's own loop."""

    def __init__(
        self, registry: Registry, dispatcher: Dispatcher, shedding: Shedding, lag_ns: Callable[[], int]
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._shedding = shedding
        self._lag_ns = lag_ns

    def check(self, job: Job) -> int | None:
        """How long a job that comes now waits for its slot; None when nothing is known.

        Raises Refused (429) when it should not wait: `shed` or `too-late`.
        """
        queues, capacity = self._queues(job), self._capacity(job)
        wait_ns = capacity.wait_ns(pressure.ahead(job.request.job_class, queues, batch_every=BATCH_EVERY))
        pressure.check(job, queues, capacity, wait_ns=wait_ns, lag_ns=self._lag_ns(), shedding=self._shedding)
        return wait_ns

    def expected_wait_ns(self, job: Job) -> int | None:
        """The same for a job that was taken before, as if it were the last in its queue."""
        queues = self._queues(job)
        return self._capacity(job).wait_ns(pressure.ahead(job.request.job_class, queues, batch_every=BATCH_EVERY))

    def full(self, job: Job) -> Refused:
        """The refusal of a job whose queue is full. Its Retry-After is the time in which a tenth drains."""
        after = self._capacity(job).drain_s(self._dispatcher.queue_bound / _FREED_SHARE)
        where = f"{job.request.function} at {job.place}"
        return Refused(429, "queue-full", f"the queue of {where} is full; try again in {after:g} s", retry_after=after)

    def _queues(self, job: Job) -> Queues:
        waiting, function, place = self._dispatcher.lanes.waiting_at, job.request.function, job.place
        live, batch = waiting(("live", function, place)), waiting(("batch", function, place))
        return Queues(live, batch, self._dispatcher.queue_bound)

    def _capacity(self, job: Job) -> Capacity:
        node = None if job.place == ANY_PLACE else job.place
        return self._registry.capacity(job.request.function, node=node)
