"""Random kills for a while: as many results as accepted jobs, and nothing that survives has grown or leaked.

One of two Anchors and one of two runtimes is never killed, so that somebody has seen all the others' deaths.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import dataclass

from contracts import streams
from contracts.access import roles
from contracts.bus import Bus
from contracts.modules import node_of
from gateway.cli.scenarios import bundles, census
from gateway.cli.scenarios.eye import lane_of
from gateway.cli.scenarios.load import Load
from gateway.cli.scenarios.stage import Stage
from gateway.cli.scenarios.story import Story

FUNCTIONS = ("one", "two")
KINDS = ("worker", "runtime", "anchor", "gateway", "nats-server")
PROGRAMS = {"runtime": "runtime-n1", "anchor": "anchor1", "gateway": "gateway", "nats-server": "nats-server"}
MOST_GROWTH_MIB = 16.0
MOST_DESCRIPTORS = 3
"""A connection under way at the moment of counting is no leak."""
_RATE = 12.0
_LEAST_LIFE_S = 6.0
_BACK_S = 90.0
_AGAIN_S = 0.5
_INACTIVE_S = 75.0
STREAMS = (
    *(streams.JOBS, streams.RESULTS, streams.EVENTS, streams.PROGRESS, streams.MODULES, streams.HEALTH, streams.LOGS),
    *(f"KV_{bucket}" for bucket in streams.BUCKETS),
    f"OBJ_{streams.OBJECTS_BUNDLES}",
)


@dataclass(frozen=True, slots=True)
class Held:
    """What the network holds at one moment. Descriptors and memory are those of the survivors, by name."""

    processes: int
    descriptors: dict[str, int]
    memory: dict[str, float]
    consumers: Counter[str]
    in_use: Counter[str]


async def play(stage: Stage) -> None:
    """Load, kill, wait until all is back, compare."""
    for function in FUNCTIONS:
        await stage.deploy(bundles.nap(function, ms=60))
    inspector = await stage.links.connect(roles.PROVISIONER)
    loads = [Load(stage.desk, function, {"ms": 60}) for function in FUNCTIONS]
    kills: Counter[str] = Counter()
    async with loads[0].steady(_RATE), loads[1].steady(_RATE):
        stage.step(f"{_RATE:g} jobs/s of each function")
        await asyncio.sleep(10.0 if stage.long else 3.0)
        before = await _held(stage, inspector)
        # Each kind once, then whatever chance says.
        until = stage.timeline.now() + (600.0 if stage.long else 18.0)
        order = stage.chance.sample(KINDS, len(KINDS))
        while stage.timeline.now() < (until + _BACK_S if order else until):
            kind = order[-1] if order else stage.chance.choice(KINDS)
            struck = _strike(stage, kind)
            kills[kind] += struck
            if struck and order:
                order.pop()
            await asyncio.sleep(stage.chance.uniform(1.5, 3.5) if struck else _AGAIN_S)
        stage.step("waiting until everybody is back")
        await stage.until("everybody is back", lambda: _everybody(stage), within=_BACK_S)
        await asyncio.sleep(2.0)
        after = await _settled(stage, inspector, before)
    for kind in KINDS:
        stage.check(f"kills: {kind}", kills[kind], "at least", 1)
    _compare(stage, before, after)
    await stage.check_every_job(*loads)
    for load in loads:
        stage.check(f"{load.function}: jobs that failed", load.failed, "exactly", 0)


def _strike(stage: Stage, kind: str) -> bool:
    """Kill one of a kind. Returns whether there was one that serves, and has lived for long enough."""
    if kind == "worker":
        workers = {name: pid for name, pid in stage.eye.pids.items() if node_of(name) == "n1"}
        if not workers:
            return False
        victim = stage.chance.choice(sorted(workers))
        stage.kill(stage.lane(victim), workers[victim])
        return True
    program = PROGRAMS[kind]
    pid = stage.network.stack.pid(program)
    if pid is None or not stage.eye.serves(lane_of(program)) or census.age_s(pid) < _LEAST_LIFE_S:
        # What dies young again and again is given up by `mmn up`, as it should be.
        return False
    stage.kill_program(program)
    return True


async def _everybody(stage: Stage) -> bool:
    listed = {str(module["instance"]): module["state"] for module in await stage.modules()}
    wanted = [*stage.network.wish.anchor_names(), *stage.network.nodes]
    if any(listed.get(name) != "up" for name in wanted):
        return False
    found = [await stage.workers(function) for function in FUNCTIONS]
    return all(len(workers) == len(stage.network.nodes) for workers in found)


async def _held(stage: Stage, inspector: Bus) -> Held:
    survivors = {"anchor2": stage.pid("anchor2"), "runtime n2": stage.pid("runtime-n2"), "mmn": os.getpid()}
    consumers: Counter[str] = Counter()
    in_use: Counter[str] = Counter()
    for stream in STREAMS:
        for consumer in await inspector.js.consumers_info(stream):
            consumers[stream] += 1
            # The queue's own are durable, and pulled from only while jobs wait.
            pulled = stream != streams.JOBS and bool(consumer.num_waiting)
            in_use[stream] += pulled or bool(consumer.push_bound)
    return Held(
        processes=len(census.processes_of(stage.network.wish.folder)),
        descriptors={name: census.descriptors(pid) or 0 for name, pid in survivors.items()},
        memory={name: census.memory_mib(pid) or 0.0 for name, pid in survivors.items()},
        consumers=consumers,
        in_use=in_use,
    )


async def _settled(stage: Stage, inspector: Bus, before: Held) -> Held:
    """What is held once what the dead have left has had its time to go; in the short form, soon."""
    within = _INACTIVE_S if stage.long else 5.0
    until = stage.timeline.now() + within
    while True:
        held = await _held(stage, inspector)
        gone = not (held.consumers - before.consumers) and held.processes <= before.processes
        if gone or stage.timeline.now() > until:
            return held
        await asyncio.sleep(1.0)


def _compare(stage: Stage, before: Held, after: Held) -> None:
    stage.check("processes", after.processes, "at most", before.processes)
    gained, name = max((after.descriptors[name] - count, name) for name, count in before.descriptors.items())
    stage.check("descriptors: most that a survivor gained", gained, "at most", MOST_DESCRIPTORS, note=name)
    grown, name = max((after.memory[name] - size, name) for name, size in before.memory.items() if name != "mmn")
    stage.check("memory: most that a survivor grew", max(grown, 0.0), "at most", MOST_GROWTH_MIB, "MiB", note=name)
    # Ephemeral consumers of the dead go by themselves after a minute without interest; the long form waits for it.
    counted, told = ("consumers", "in all") if stage.long else ("in_use", "somebody pulls from")
    more = getattr(after, counted) - getattr(before, counted)
    stage.check(f"consumers {told}, more than before", more.total(), "exactly", 0, note=_named(more))
    lasting = after.consumers[streams.JOBS] - before.consumers[streams.JOBS]
    stage.check("durable consumers of the queue, more than before", max(lasting, 0), "exactly", 0)


def _named(counts: Counter[str]) -> str:
    return ", ".join(f"{stream} {count}" for stream, count in counts.items())


STORY = Story(
    name="soak",
    summary="Random kills of everything, by a seed: accepted = results, no duplicate, no leak, memory flat.",
    play=play,
    nodes=2,
    anchors=2,
)
