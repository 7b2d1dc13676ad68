"""Why Anchors choose instances: the real router and limiter against what queue groups do, simulated.

Twenty instances whose true capacity nobody knows, 70 % load, and targets of which 15 % do not answer
for five seconds. A job waits in the worker when it was given too many, or in the Anchor while
nobody has a slot; the figures are that wait.
"""

import heapq
import itertools
import random
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anchor.instance import Instance
from anchor.limiter import Limiter
from anchor.router import choose
from tests.unit.anchor.builders import card

Report = Callable[[dict[str, Any]], None]
Choose = Callable[[list[Instance], int, random.Random], Instance | None]

S = 1_000_000_000
INSTANCES = 20
CAPACITIES = (4, 8, 16, 32)
START = 8.0
CAP = 200
LOAD = 0.7
SILENT = 0.15
SILENT_S = 5.0
SECONDS = 240.0
WARM_UP_S = 60.0
SEEDS = range(1, 7)


@dataclass(eq=False)
class Worker:
    """The far side of an instance: it runs `capacity` jobs, the others wait in it."""

    instance: Instance
    capacity: int
    running: int = 0
    queue: deque["SimJob"] = field(default_factory=deque)


@dataclass(eq=False)
class SimJob:
    """`asked` when it was submitted, `sent` when it was given to a worker."""

    asked: float
    takes: float
    worker: Worker | None = None
    sent: float = 0.0
    started: float = 0.0


class Simulation:
    """One run: events in the order of time, no clock."""

    def __init__(self, policy: Choose, seed: int) -> None:
        self.chance = random.Random(seed)
        self.policy = policy
        self.workers: dict[str, Worker] = {}
        for number in range(INSTANCES):
            name = f"n{number}_x"
            limiter = Limiter(CAP, start=START)
            instance = Instance(name, f"n{number}", card(concurrency=CAP), {}, 0, limiter)
            self.workers[name] = Worker(instance, self.chance.choice(CAPACITIES))
        self.instances = [worker.instance for worker in self.workers.values()]
        self.pending: deque[SimJob] = deque()
        self.waits: list[float] = []
        self._events: list[tuple[float, int, SimJob | None]] = []
        self._order = itertools.count()

    def run(self) -> None:
        mean_s = 0.1 * (1 - SILENT) + SILENT_S * SILENT
        per_s = LOAD * sum(worker.capacity for worker in self.workers.values()) / mean_s
        self._at(self.chance.expovariate(per_s), None)
        while self._events:
            now, _, job = heapq.heappop(self._events)
            if now > SECONDS:
                return
            if job is None:
                self._at(now + self.chance.expovariate(per_s), None)
                self.pending.append(SimJob(now, self._takes()))
            else:
                self._ended(job, now)
            while self.pending and (chosen := self.policy(self.instances, int(now * S), self.chance)) is not None:
                self._send(self.pending.popleft(), self.workers[chosen.id], now)

    def _takes(self) -> float:
        return SILENT_S if self.chance.random() < SILENT else self.chance.uniform(0.05, 0.15)

    def _at(self, when: float, job: SimJob | None) -> None:
        heapq.heappush(self._events, (when, next(self._order), job))

    def _send(self, job: SimJob, worker: Worker, now: float) -> None:
        job.worker, job.sent = worker, now
        worker.instance.in_flight += 1
        if worker.running < worker.capacity:
            self._start(job, worker, now)
        else:
            worker.queue.append(job)

    def _start(self, job: SimJob, worker: Worker, now: float) -> None:
        worker.running += 1
        job.started = now
        if now > WARM_UP_S:
            self.waits.append(now - job.asked)
        self._at(now + job.takes, job)

    def _ended(self, job: SimJob, now: float) -> None:
        worker = job.worker
        assert worker is not None
        worker.running -= 1
        queued_ns = int((job.started - job.sent) * S)
        worker.instance.limiter.succeeded(queued_ns, worker.instance.in_flight, int(now * S))
        worker.instance.in_flight -= 1
        if worker.queue:
            self._start(worker.queue.popleft(), worker, now)

    def learned(self) -> list[float]:
        """Each instance's limit as a multiple of its true capacity."""
        return [worker.instance.limit / worker.capacity for worker in self.workers.values()]


def at_random(instances: list[Instance], _now_ns: int, chance: random.Random) -> Instance:
    """What a queue group does."""
    return chance.choice(instances)


def by_in_flight(instances: list[Instance], _now_ns: int, chance: random.Random) -> Instance:
    """Two choices, with no limit."""
    first, second = chance.choice(instances), chance.choice(instances)
    return first if first.in_flight <= second.in_flight else second


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def span(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} (from {min(values):.2f} to {max(values):.2f}, {len(values)} seeds)"


POLICIES: dict[str, Choose] = {
    "random, as a queue group": at_random,
    "two choices by in-flight": by_in_flight,
    "two choices by learned limit": choose,
}


def test_waits_and_learned_limits_of_routing_policies(report: Report) -> None:
    figures: dict[str, Any] = {}
    for name, policy in POLICIES.items():
        p95, p99, learned = list[float](), list[float](), list[float]()
        for seed in SEEDS:
            run = Simulation(policy, seed)
            run.run()
            p95.append(percentile(run.waits, 0.95))
            p99.append(percentile(run.waits, 0.99))
            learned += run.learned()
        figures[f"{name}: p95 wait s"] = span(p95)
        figures[f"{name}: p99 wait s"] = span(p99)
        if policy is choose:
            figures["learned limit / true capacity"] = (
                f"{statistics.median(learned):.2f} (from {min(learned):.2f} to {max(learned):.2f})"
            )
    report(figures)
