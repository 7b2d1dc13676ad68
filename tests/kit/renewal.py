"""Workers whose tokens live for seconds, under load: what became of every call, and of every connection."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import nats.errors
from nats.aio.msg import Msg

from contracts import codec, subjects
from contracts.access import roles
from contracts.bus import Bus
from contracts.errors import Refused
from contracts.jobs import CallReply, new_job_id
from contracts.service import raise_refusal
from tests.kit.nats_server import nats_server
from tests.kit.node import Announcements, Node, call, deploy
from tests.kit.wheels import FUNCTIONS, wheel_of

NODE = "renews"
"""Nobody else's: nodes of one name on one host share their rules for egress, which would cut these off."""
CALLERS = 24
WORKERS = 2
_SLOW_MS = 1500
"""Many of these are under way whenever a connection is replaced, and shorter than what is left of a token then."""
_LONGEST_MS = 300


@dataclass
class Told:
    """What was seen. `lost` says of each call without its one answer why; `connections` are by user key."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    connections: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    longest_ms: float = 0.0


async def renewed_under_load(folder: Path, *, seconds: float, lifetime_s: int) -> Told:
    """Load two workers by directed calls, calls to anyone and questions for `seconds`."""
    told = Told()
    async with nats_server(folder, nodes=(NODE,), tls=True) as server:
        anchor, gateway = await server.connect(roles.ANCHOR, "anchor1"), await server.connect(roles.GATEWAY, "gateway1")
        announced = await Announcements.open(anchor)

        def connected(msg: Msg) -> None:
            told.connections[msgspec.json.decode(msg.data)["client"]["user"]] += 1

        def disconnected(msg: Msg) -> None:
            told.ended[msgspec.json.decode(msg.data)["reason"]] += 1

        node = Node(server, NODE, worker_lifetime_s=str(lifetime_s))
        await node.start()
        try:
            await deploy(gateway, wheel_of(FUNCTIONS / "echo"), workers=WORKERS)
            await announced.next("ready", "echo", count=WORKERS, within=60)
            workers = [one.instance for one in announced.of("ready", "echo")]
            await anchor.listen(f"{subjects.CONNECTIONS}.CONNECT", connected)
            await anchor.listen(f"{subjects.CONNECTIONS}.DISCONNECT", disconnected)
            until = time.monotonic() + seconds

            async def caller(first: int) -> None:
                number = first
                while time.monotonic() < until:
                    began = time.monotonic()
                    try:
                        await _ask(anchor, workers, number, told)
                    except (Refused, nats.errors.Error, TimeoutError) as error:
                        told.lost.append(
                            f"call {number % 8}: {type(error).__name__} {error}, asked {seconds - until + began:.1f} s after the start"
                        )
                    else:
                        told.answered += 1
                    told.longest_ms = max(told.longest_ms, (time.monotonic() - began) * 1000)
                    number += CALLERS + 1

            async with asyncio.TaskGroup() as tasks:
                for first in range(CALLERS):
                    tasks.create_task(caller(first))
            told.closed = [f"{one.event} {one.instance} {one.reason}" for one in announced.of("failed", "echo")]
            await anchor.flush()
        finally:
            await node.close()
    return told


async def _ask(anchor: Bus, workers: Sequence[str], number: int, told: Told) -> None:
    """One call of a kind that its number says. Raises what a lost one ends in."""
    # A seed for each, so that a run can be repeated.
    dice = random.Random(number)
    kind, worker = number % 8, dice.choice(workers)
    params = {"delay_ms": _SLOW_MS if kind == 0 else dice.randint(0, _LONGEST_MS)}
    if kind == 1:
        await anchor.request(subjects.service("STATS", "echo", worker), within=5)
        return
    if kind == 2:
        body = codec.encode({"params": params, "job": new_job_id()}, codec.JSON)
        msg = await anchor.request(subjects.call_any("echo"), body, within=15)
        raise_refusal(msg.headers)
        reply = codec.decode(msg.data, CallReply)
    else:
        reply, _ = await call(anchor, "echo", worker, params)
    if reply.failure is not None or reply.sequence is None:
        told.lost.append(f"{reply.failure}, stored as {reply.sequence}")
