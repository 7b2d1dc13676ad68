"""Five times what a function can do: its queue stays bounded, the rest is refused, others do not notice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from contracts import clock, streams, subjects
from contracts.access import roles
from contracts.bus import Bus
from contracts.tail import stream_status
from gateway.cli.scenarios import bundles, census, figures
from gateway.cli.scenarios.load import Load
from gateway.cli.scenarios.stage import Stage
from gateway.cli.scenarios.story import Story

PRESSED, CALM = "pressed", "calm"
WORKERS, SLOTS, NAP_MS = 3, 2, 200
CAPACITY = WORKERS * SLOTS * 1000 / NAP_MS
TIMES = 5
QUEUE_BOUND = 100
NO_WORSE, FLOOR_MS = 1.5, 10.0
LESS = 0.75
MOST_GROWTH_MIB = 8.0
_CALM_RATE = 10.0
_AWAKE_S, _ASLEEP_S = 0.05, 0.45
_LOOK_S = 0.25


class Sampler:
    """Looks again and again at the queue's length and at the memory of processes."""

    def __init__(self, bus: Bus, pids: Mapping[str, int]) -> None:
        self._bus = bus
        self._pids = pids
        self.queued: list[int] = []
        self.memory: defaultdict[str, list[float]] = defaultdict(list)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            status = await stream_status(self._bus, streams.JOBS, subjects=subjects.QUEUES)
            of_function = (count for subject, count in status.state.subjects.items() if f".{PRESSED}." in subject)
            self.queued.append(sum(of_function))
            for name, pid in self._pids.items():
                self.memory[name].append(census.memory_mib(pid) or 0.0)
            await asyncio.sleep(_LOOK_S)

    def forget_memory(self) -> None:
        """Begin to watch memory anew."""
        self.memory.clear()


async def play(stage: Stage) -> None:
    """Idle, then pressed, then pressed with one worker slowed."""
    half = 15.0 if stage.long else 4.0
    await stage.deploy(bundles.nap(PRESSED, ms=NAP_MS, concurrency=SLOTS), workers=WORKERS)
    await stage.deploy(bundles.nap(CALM, ms=20))
    pressed = Load(stage.desk, PRESSED, {"ms": NAP_MS}, patient=False)
    calm = Load(stage.desk, CALM, {"ms": 20})
    workers = await stage.all_workers(PRESSED, WORKERS)
    pids = {"anchor1": stage.pid("anchor1")} | {stage.lane(name): pid for name, pid in workers.items()}
    sampler = Sampler(await stage.links.connect(roles.PROVISIONER), pids)
    async with calm.steady(_CALM_RATE):
        stage.step(f"{_CALM_RATE:g} jobs/s of `{CALM}`, alone")
        await asyncio.sleep(0.5)
        idle = clock.monotonic_ns()
        await asyncio.sleep(3.0)
        full = clock.monotonic_ns()
        stage.step(f"`{PRESSED}` can do {CAPACITY:g} jobs/s and is offered {TIMES * CAPACITY:g}")
        async with pressed.steady(TIMES * CAPACITY), asyncio.TaskGroup() as tasks:
            sampling = tasks.create_task(sampler.run())
            await asyncio.sleep(1.0)
            # What buffers and caches grow to at first is no leak.
            sampler.forget_memory()
            even = clock.monotonic_ns()
            await asyncio.sleep(half)
            slow = clock.monotonic_ns()
            victim = min(workers)
            stage.step(f"{stage.lane(victim)} is slowed")
            async with stage.slowed(stage.lane(victim), workers[victim], awake=_AWAKE_S, asleep=_ASLEEP_S):
                await asyncio.sleep(half)
                ended = clock.monotonic_ns()
            sampling.cancel()
    _check_queue(stage, sampler, pressed)
    _check_share(stage, pressed, victim, even, slow, ended)
    alone, beside = figures.median(calm.latencies(idle, full)), figures.median(calm.latencies(full, ended))
    stage.show(f"{CALM}: median latency alone", alone * 1000, "ms")
    bound = alone * 1000 * NO_WORSE + FLOOR_MS
    stage.check(f"{CALM}: median latency meanwhile", beside * 1000, "at most", round(bound, 1), "ms")
    grown, name = max((figures.growth(samples), name) for name, samples in sampler.memory.items())
    stage.check("memory: most that a process grew", max(grown, 0.0), "at most", MOST_GROWTH_MIB, "MiB", note=name)
    await stage.check_every_job(pressed, calm)
    for load in (pressed, calm):
        stage.check(f"{load.function}: jobs that failed", load.failed, "exactly", 0)


def _check_queue(stage: Stage, sampler: Sampler, pressed: Load) -> None:
    most = max(sampler.queued, default=0)
    stage.check("queue: most jobs at once", most, "at most", QUEUE_BOUND)
    stage.check("queue: it was full", most, "at least", 0.9 * QUEUE_BOUND)
    refused = [order.refused for order in pressed.orders if order.refused is not None]
    others = sum(refusal.code != 429 or not refusal.retry_after for refusal in refused)
    stage.check("refused for a full queue", len(refused), "at least", 1, note=f"of {len(pressed.orders)} offered")
    stage.check("refusals that are not 429 with Retry-After", others, "exactly", 0)


def _check_share(stage: Stage, pressed: Load, victim: str, even: int, slow: int, ended: int) -> None:
    before, after = pressed.by_worker(even, slow), pressed.by_worker(slow, ended)
    stage.show(f"{PRESSED}: served", before.total() / ((slow - even) / 1e9), "jobs/s", note=f"of {CAPACITY:g} possible")
    share = before[victim] / before.total() if before else float("inf")
    now = after[victim] / after.total() if after else float("inf")
    stage.show("slowed worker: its share before", share)
    stage.check("slowed worker: its share as part of that", now / share if share else float("inf"), "at most", LESS)


STORY = Story(
    name="backpressure",
    summary="Five times more than a function can do: a bounded queue, 429 for the rest, others as fast as before.",
    play=play,
    queue_bound=QUEUE_BOUND,
)
