"""May a job that is sound and paid for wait in its queue? Long queues shed `batch` first.

A queue whose wait is longer than the job's own deadline takes neither class. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from contracts.errors import Refused
from contracts.jobs import Job

_S: Final = 1_000_000_000
TRUSTED_RUNS: Final = 20
"""An estimate of the wait is good enough to refuse by once so many jobs have run."""
SHED_SHARE: Final = 0.5
_SHORTEST_S: Final = 1.0
_LONGEST_S: Final = 60.0


class Capacity(NamedTuple):
    """What a function has at a place: slots in all, slots free now, and how long its jobs take.

    `run_ns` is None while nothing has run; `runs` counts what it was learned from.
    """

    width: float
    free: int
    run_ns: float | None
    runs: int = 0

    def wait_ns(self, ahead: float) -> int | None:
        """How long a job waits for its slot behind `ahead` others; None while nothing is known."""
        if self.run_ns is None or self.width <= 0:
            return None
        return int(max(0.0, ahead - self.free + 1) * self.run_ns / self.width)

    def drain_s(self, jobs: float) -> float:
        """Seconds until so many jobs have left the queue, between a second and a minute."""
        wait_ns = 0.0 if self.run_ns is None or self.width <= 0 else jobs * self.run_ns / self.width
        return bounded(wait_ns / _S)


class Queues(NamedTuple):
    """Jobs that wait at one place, by class, and how many may."""

    live: int
    batch: int
    bound: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shedding:
    """When `batch` is refused: live jobs wait longer than `wait_s`, or the loop was `lag_s` late. 0 means never."""

    wait_s: float
    lag_s: float


def bounded(seconds: float) -> float:
    """A Retry-After that is neither a busy loop nor a farewell: 1 to 60 seconds, in milliseconds."""
    return math.ceil(min(_LONGEST_S, max(_SHORTEST_S, seconds)) * 1000) / 1000


def ahead(job_class: str, queues: Queues, *, batch_every: int) -> float:
    """Slots that are given away before a job that comes now has its turn.

    `batch` waits for all live jobs, but for no more of them than leave it its share.
    """
    if job_class == "live":
        return queues.live
    return min(queues.live + queues.batch, (queues.batch + 1) * batch_every - 1)


def check(
    job: Job, queues: Queues, capacity: Capacity, *, wait_ns: int | None, lag_ns: int, shedding: Shedding
) -> None:
    """Raise Refused (429) when the job should not be taken now. `wait_ns` is the job's own expected wait."""
    if job.request.job_class == "batch":
        _shed(job, queues, capacity, lag_ns, shedding)
    if wait_ns is not None and capacity.runs >= TRUSTED_RUNS and wait_ns > job.request.deadline_s * _S:
        message = (
            f"{_where(job)} has a queue of about {wait_ns / _S:.1f} s, and the job's deadline is"
            f" {job.request.deadline_s:g} s; give it more time or try again later"
        )
        raise Refused(429, "too-late", message, retry_after=bounded(wait_ns / _S - job.request.deadline_s))


def _shed(job: Job, queues: Queues, capacity: Capacity, lag_ns: int, shedding: Shedding) -> None:
    if 0 < shedding.lag_s * _S < lag_ns:
        message = f"this Anchor is overloaded (its loop was {lag_ns / _S:.2f} s late); batch jobs have to wait"
        raise Refused(429, "shed", message, retry_after=_SHORTEST_S)
    excess = queues.live - queues.bound * SHED_SHARE
    if queues.bound > 0 and excess > 0:
        message = f"live jobs fill more than half of the queue of {_where(job)}; batch jobs have to wait"
        raise Refused(429, "shed", message, retry_after=capacity.drain_s(excess))
    live_ns = capacity.wait_ns(queues.live)
    if shedding.wait_s > 0 and queues.live and live_ns is not None and live_ns > shedding.wait_s * _S:
        message = f"live jobs of {_where(job)} wait about {live_ns / _S:.1f} s; batch jobs have to wait"
        raise Refused(429, "shed", message, retry_after=bounded(live_ns / _S - shedding.wait_s))


def _where(job: Job) -> str:
    return f"{job.request.function} at {job.place}"
