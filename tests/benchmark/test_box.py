"""What the box costs: a worker's start, and a call, each beside the same without it."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts import subjects
from contracts.access import roles
from contracts.functions import Manifest
from runtime import box
from runtime.box import Measure, Spec, paths
from runtime.box.enter import confine
from tests.kit.nats_server import nats_server
from tests.kit.node import Announcements, Node, call, deploy
from tests.kit.wheels import FUNCTIONS, wheel_of

Report = Callable[[dict[str, Any]], None]
PAIRS = 10
STARTS = 20
CALLS = 200


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} (from {min(values):.3f} to {max(values):.3f}, {len(values)} pairs)"


def fork_and_confine(spec: Spec, readable: list[str]) -> float:
    """Milliseconds from the fork to a confined child."""
    answer, reply = os.pipe()
    parent, begun = os.getpid(), time.perf_counter_ns()
    pid = os.fork()
    if pid == 0:
        try:
            confine(spec, parent=parent, readable=readable)
            os.write(reply, b"x")
        finally:
            os._exit(0)
    os.read(answer, 1)
    took = time.perf_counter_ns() - begun
    os.waitpid(pid, 0)
    os.close(answer)
    os.close(reply)
    return took / 1e6


def test_what_the_box_adds_to_a_fork(report: Report, tmp_path: Path) -> None:
    readable = paths.readable()

    def spec(*measures: Measure) -> Spec:
        return Spec.of(
            Manifest(summary="bench"),
            name="bench",
            scratch=str(tmp_path),
            code=str(tmp_path),
            measures=measures,
            user=400_000 if "user" in measures else None,
            bus_ports=(4222,),
            bus_by_name=False,
        )

    kinds: dict[str, tuple[Measure, ...]] = {
        "no measure": (),
        "Landlock and seccomp": ("landlock", "seccomp"),
        "all": box.MEASURES if os.geteuid() == 0 else ("landlock", "seccomp"),
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(PAIRS):
        for kind, measures in kinds.items():
            taken = [fork_and_confine(spec(*measures), readable) for _ in range(STARTS)]
            found[kind].append(statistics.median(taken))
    report({f"fork to confined, {kind}, ms": spread(values) for kind, values in found.items()})


async def test_what_the_box_costs_a_start_and_a_call(report: Report, tmp_path: Path) -> None:
    async with nats_server(tmp_path, nodes=("boxed", "bare")) as server:
        anchor = await server.connect(roles.ANCHOR, "anchor1")
        gateway = await server.connect(roles.GATEWAY, "gateway1")
        announced = await Announcements.open(anchor)
        nodes = [Node(server, "boxed"), Node(server, "bare", box_without='["user","landlock","seccomp"]')]
        try:
            for node in nodes:
                await node.start()
            await deploy(gateway, wheel_of(FUNCTIONS / "echo"))
            ready = {node.node: await announced.next("ready", "echo", node=node.node) for node in nodes}
            found: dict[str, list[float]] = {node.node: [] for node in nodes}
            for _ in range(PAIRS):
                for node in nodes:
                    begun = time.perf_counter_ns()
                    for _ in range(CALLS):
                        await call(anchor, "echo", ready[node.node].instance)
                    found[node.node].append((time.perf_counter_ns() - begun) / CALLS / 1e6)
            starts: dict[str, list[float]] = {node.node: [] for node in nodes}
            for count in range(2, PAIRS + 2):
                for node in nodes:
                    begun = time.perf_counter_ns()
                    await gateway.nc.request(subjects.node_control(node.node, "restart"), b"", timeout=10)
                    await announced.next("ready", "echo", count=count, node=node.node)
                    starts[node.node].append((time.perf_counter_ns() - begun) / 1e6)
            ratios = [boxed / bare for boxed, bare in zip(found["boxed"], found["bare"], strict=True)]
            cards = {name: announcement.card for name, announcement in ready.items()}
            report(
                {
                    "levels": ", ".join(f"{name} {card.box}" for name, card in cards.items() if card),
                    "asked for to ready, in the box, ms": spread(starts["boxed"]),
                    "asked for to ready, without, ms": spread(starts["bare"]),
                    "a call in the box, ms": spread(found["boxed"]),
                    "a call without, ms": spread(found["bare"]),
                    "with to without": spread(ratios),
                }
            )
        finally:
            for node in nodes:
                await node.close()
