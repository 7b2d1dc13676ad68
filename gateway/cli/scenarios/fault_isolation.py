"""One process after the other is killed or stopped under load: others go on, people see it, no job is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.cli.scenarios import bundles, census
from gateway.cli.scenarios.load import Load
from gateway.cli.scenarios.stage import Stage
from gateway.cli.scenarios.story import Story

KILLED_S = 1.0
HUNG_S = 5.0
GIVEN_UP_S = 15.0
"""How long the server may hand submits to an Anchor that does nothing; its clients try again meanwhile."""
_IN_A_ROW = 12
_AT_ONCE_S = 1.0
_BACK_S = 30.0
_CALM_S = 1.0
_RATE = 15.0


async def play(stage: Stage) -> None:
    """Two functions on two nodes; faults hit workers of the one, then what both need."""
    stage.step("deploying `struck` and `calm` on nodes n1 and n2")
    await stage.deploy(bundles.nap("struck", ms=100))
    await stage.deploy(bundles.nap("calm", ms=50))
    struck, calm = Load(stage.desk, "struck", {"ms": 100}), Load(stage.desk, "calm", {"ms": 50})
    others = await stage.all_workers("calm", len(stage.network.nodes))
    async with struck.steady(_RATE), calm.steady(_RATE):
        stage.step(f"{_RATE:g} jobs/s of each")
        await asyncio.sleep(2.0)
        for _ in range(3 if stage.long else 1):
            await _killed_worker(stage)
            await _hung_worker(stage)
        ended = sum(not census.alive(pid) for pid in others.values())
        for _ in range(3 if stage.long else 1):
            await _killed_runtime(stage)
            await _hung_runtime(stage)
            await _killed_anchor(stage)
            await _hung_anchor(stage)
            await _killed_server(stage)
        await asyncio.sleep(_CALM_S)
    await stage.check_every_job(struck, calm)
    stage.check("calm: processes that the faults of `struck` ended", ended, "exactly", 0)
    stage.check("calm: jobs that failed", calm.failed, "exactly", 0)
    stage.check("struck: jobs that failed", struck.failed, "exactly", 0)
    stage.show("longest wait for a result", max(calm.latencies() + struck.latencies(), default=float("inf")), "s")


async def _killed_worker(stage: Stage) -> None:
    workers = await stage.all_workers("struck", len(stage.network.nodes))
    victim = stage.chance.choice(sorted(workers))
    lane = stage.lane(victim)
    stage.kill(lane, workers[victim])
    await _shown(stage, victim, lane, "worker killed: shown after", KILLED_S)
    await _back(stage, "worker killed: replaced after", lambda: _count(stage, "struck"))


async def _hung_worker(stage: Stage) -> None:
    workers = await stage.all_workers("struck", len(stage.network.nodes))
    victim = stage.chance.choice(sorted(workers))
    lane = stage.lane(victim)
    with stage.stopped(lane, workers[victim]):
        await _shown(stage, victim, lane, "worker stopped: shown after", HUNG_S)
        await _back(stage, "worker stopped: replaced after", lambda: _count(stage, "struck"))


async def _killed_runtime(stage: Stage) -> None:
    (victim,) = await stage.all_workers("struck", 1, "n1")
    lane = stage.lane(victim)
    stage.kill_program("runtime-n1")
    await _shown(stage, victim, lane, "runtime killed: its workers' end shown after", HUNG_S)
    await _back(stage, "runtime killed: its workers are back after", lambda: _count(stage, "struck"))


async def _hung_runtime(stage: Stage) -> None:
    workers = await stage.all_workers("struck", 1, "n2")
    with stage.stopped("runtime n2", stage.pid("runtime-n2")):
        await _shown(stage, "n2", "runtime n2", "runtime stopped: shown after", HUNG_S)
        # A node whose runtime hangs goes on measuring.
        await stage.serves("struck", "n2", within=_BACK_S)
    await _back(stage, "runtime continued: up again after", lambda: _up(stage, "n2"))
    lost = sum(not census.alive(pid) for pid in workers.values())
    stage.check("runtime stopped: workers lost", lost, "exactly", 0)


async def _killed_anchor(stage: Stage) -> None:
    old = stage.pid("anchor1")
    stage.kill_program("anchor1")

    async def again() -> bool:
        return stage.network.stack.pid("anchor1") not in {None, old} and stage.eye.serves("anchor1")

    await _back(stage, "Anchor killed: back after", again)


async def _hung_anchor(stage: Stage) -> None:
    with stage.stopped("anchor2", stage.pid("anchor2")):
        began = stage.timeline.now()
        await _shown(stage, "anchor2", "anchor2", "Anchor stopped: shown after", HUNG_S)
        await stage.until("every submit is answered without it", lambda: _answered(stage), within=_BACK_S)
        stage.check("Anchor stopped: it gets no submit after", stage.timeline.now() - began, "at most", GIVEN_UP_S, "s")
    await _back(stage, "Anchor continued: up again after", lambda: _up(stage, "anchor2"))


async def _answered(stage: Stage) -> bool:
    """Whether many submits in a row are answered at once: while a stopped Anchor is asked, half of them are not."""
    for _ in range(_IN_A_ROW):
        try:
            async with asyncio.timeout(_AT_ONCE_S):
                if (await stage.desk.place("calm", {"ms": 1}, patient=False)).job is None:
                    return False
        except TimeoutError:
            return False
    return True


async def _killed_server(stage: Stage) -> None:
    stage.kill_program("nats-server")
    after = await stage.serves("calm", within=_BACK_S)
    stage.show("NATS server killed: next job served after", after - stage.timeline.last("nats-server", "kill"), "s")
    await _back(stage, "NATS server killed: everybody back after", lambda: _everybody(stage))


async def _shown(stage: Stage, instance: str, lane: str, name: str, bound: float) -> None:
    """Until people are shown that an instance is not up."""

    async def seen() -> bool:
        return await stage.state_of(instance) in {"suspect", "down"}

    took = await stage.until(f"{name} is shown", seen, within=20.0)
    stage.timeline.mark(lane, "shown")
    stage.check(name, took, "at most", bound, "s")


async def _back(stage: Stage, name: str, condition: Callable[[], Awaitable[bool]]) -> None:
    stage.show(name, await stage.until(name, condition, within=_BACK_S), "s")
    await asyncio.sleep(_CALM_S)


async def _count(stage: Stage, function: str) -> bool:
    return len(await stage.workers(function)) == len(stage.network.nodes)


async def _up(stage: Stage, instance: str) -> bool:
    return await stage.state_of(instance) == "up"


async def _everybody(stage: Stage) -> bool:
    listed = {str(module["instance"]): module["state"] for module in await stage.modules()}
    wanted = [*stage.network.wish.anchor_names(), *stage.network.nodes]
    return all(listed.get(name) == "up" for name in wanted) and await _count(stage, "struck")


STORY = Story(
    name="fault-isolation",
    summary="Workers, a runtime, an Anchor, the NATS server are killed or stopped: other functions do not notice.",
    play=play,
    nodes=2,
    anchors=2,
)
