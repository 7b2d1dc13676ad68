"""A function and a node join a network that works: served within two seconds, with nothing restarted."""

from __future__ import annotations

import asyncio

from contracts import clock
from gateway.cli.scenarios import bundles, census, figures
from gateway.cli.scenarios.load import Load
from gateway.cli.scenarios.stage import Stage
from gateway.cli.scenarios.story import Story

_RATE = 20.0
_SEEN_S = 5.0
_PLUG_S = 2.0


async def play(stage: Stage) -> None:
    """Deploy one function, load it, then plug in others and a node."""
    stage.step("deploying the function `steady` on node n1")
    await stage.deploy(bundles.nap("steady", ms=50))
    load = Load(stage.desk, "steady", {"ms": 50})
    window = 10.0 if stage.long else 3.0
    workers = await stage.all_workers("steady", 1)
    before = _programs(stage)
    async with load.steady(_RATE):
        stage.step(f"{_RATE:g} jobs/s of `steady`, alone for {window:g} s")
        await asyncio.sleep(0.5)
        began = clock.monotonic_ns()
        await asyncio.sleep(window)
        plugged = clock.monotonic_ns()
        for number in range(1, (5 if stage.long else 2) + 1):
            await _plug_function(stage, f"fresh{number}")
        await _plug_node(stage, "n2")
        await asyncio.sleep(1.0)
        ended = clock.monotonic_ns()
    after = _programs(stage)
    restarted = [name for name, pid in before.items() if after[name] != pid]
    restarted += [name for name, pid in workers.items() if not census.alive(pid)]
    stage.check("processes restarted", len(restarted), "exactly", 0, note=", ".join(restarted))
    alone = figures.median(load.latencies(began, plugged))
    beside = figures.median(load.latencies(plugged, ended))
    stage.show("steady: median latency alone", alone * 1000, "ms")
    stage.check("steady: median latency meanwhile", beside * 1000, "at most", alone * 1500 + 10, "ms")
    await stage.check_every_job(load)
    stage.check("steady: jobs that failed", load.failed, "exactly", 0)


async def _plug_function(stage: Stage, name: str) -> None:
    stage.step(f"uploading a new function, `{name}`")
    uploading = stage.timeline.mark("gateway", "upload", f"{name} 1.0.0")
    serving = asyncio.get_running_loop().create_task(_uploaded(stage, name))
    try:
        served = await stage.serves(name)
    finally:
        await serving
    announced = await _announced(stage, name, "n1")
    stage.check(f"{name}: announced to first job served", served - announced, "at most", _PLUG_S, "s")
    stage.show(f"{name}: upload to first job served", served - uploading, "s")


async def _uploaded(stage: Stage, name: str) -> None:
    await stage.upload(bundles.nap(name, ms=5))


async def _plug_node(stage: Stage, node: str) -> None:
    stage.step(f"starting another node, {node}")
    starting = stage.timeline.now()
    await stage.network.join(node)
    served = await stage.serves("steady", node)
    announced = await _announced(stage, "steady", node)
    stage.check(f"{node}: worker announced to first job served", served - announced, "at most", _PLUG_S, "s")
    stage.show(f"{node}: process start to first job served", served - starting, "s")


async def _announced(stage: Stage, function: str, node: str) -> float:
    """When its first worker there was announced: the eye may hear of it only after a job was served."""

    async def seen() -> bool:
        return (function, node) in stage.eye.ready

    await stage.until(f"{function} is announced on {node}", seen, within=_SEEN_S)
    return stage.eye.ready[function, node]


def _programs(stage: Stage) -> dict[str, int | None]:
    wish = stage.network.wish
    programs = ["nats-server", *wish.anchor_names(), "gateway", *(f"runtime-{node}" for node in wish.node_names())]
    return {name: stage.network.stack.pid(name) for name in programs}


STORY = Story(
    name="hot-plug",
    summary="A new function and a new node join a loaded network: first job within 2 s, nothing restarted.",
    play=play,
    spare=1,
)
