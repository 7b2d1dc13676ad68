"""A worker ends a job that was cancelled, whatever its function thinks of that."""

import asyncio
import json

import pytest

from contracts import codec, streams, subjects
from contracts.bus import Bus
from contracts.errors import Refused
from contracts.jobs import Cancelled, StopReply, new_job_id
from contracts.service import raise_refusal
from contracts.tail import stream_status
from tests.kit.eventually import eventually
from tests.kit.node import Announcements, Node, call, deploy
from tests.kit.wheels import BUNDLES, build_wheel, wheel_of

pytestmark = pytest.mark.usefixtures("node")


async def cancel(anchor: Bus, function: str, instance: str, job: str) -> StopReply:
    body = codec.encode(Cancelled(job=job), codec.JSON)
    msg = await anchor.nc.request(subjects.call_cancel(function, instance), body, timeout=2)
    raise_refusal(msg.headers)
    return codec.decode(msg.data, StopReply)


async def load(anchor: Bus, function: str, instance: str) -> tuple[int, int]:
    """Calls that run in a worker, and those that wait there."""
    msg = await anchor.nc.request(subjects.service("STATS", function, instance), b"", timeout=2)
    data = next(one["data"] for one in json.loads(msg.data)["endpoints"] if one["name"] == "call")
    return data["in_flight"], data["queued"]


async def outcome(anchor: Bus, function: str, instance: str, params: dict[str, object], job: str) -> object:
    try:
        return await call(anchor, function, instance, params, job=job, time_left=90, within=90)
    except Refused as refusal:
        return refusal


def refused(outcome: object) -> tuple[int, str]:
    assert isinstance(outcome, Refused), outcome
    return outcome.code, outcome.reason


async def test_a_long_job_ends_at_once_and_its_slot_takes_the_next(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    assert node is not None
    await deploy(gateway, wheel_of(BUNDLES / "nap"))
    nap = (await announced.next("ready", "nap")).instance
    long, waiting = new_job_id(), new_job_id()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(outcome(anchor, "nap", nap, {"seconds": 60.0}, long))
        await eventually(lambda: _loaded(anchor, "nap", nap, (1, 0)))
        second = tasks.create_task(outcome(anchor, "nap", nap, {"seconds": 60.0}, waiting))
        await eventually(lambda: _loaded(anchor, "nap", nap, (1, 1)))
        assert not (await cancel(anchor, "nap", nap, waiting)).found, "it has no slot yet"
        assert (await cancel(anchor, "nap", nap, long)).found
        # Refused as busy until both have left.
        reply, _ = await eventually(lambda: call(anchor, "nap", nap), within=3)
    assert reply.sequence == 1
    assert [refused(one.result()) for one in (first, second)] == [(410, "cancelled")] * 2
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 1
    assert announced.of("failed", "nap") == []


async def _loaded(anchor: Bus, function: str, instance: str, wanted: tuple[int, int]) -> bool:
    return await load(anchor, function, instance) == wanted


async def test_a_function_that_swallows_its_cancellation_costs_its_worker(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    assert node is not None
    manifest = 'summary = "Stubborn."\n[limits]\ntimeout = 120.0\n'
    code = (BUNDLES / "raises" / "raises" / "__init__.py").read_text()
    await deploy(gateway, build_wheel("raises", code=code, manifest=manifest))
    raises = (await announced.next("ready", "raises")).instance
    job = new_job_id()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(outcome(anchor, "raises", raises, {"how": "stubborn"}, job))
        await eventually(lambda: _loaded(anchor, "raises", raises, (1, 0)))
        assert (await cancel(anchor, "raises", raises, job)).found
    assert refused(ended.result()) == (410, "cancelled")
    failed = await announced.next("failed", "raises")
    assert (failed.instance, failed.reason) == (raises, "a job could not be cancelled")
    second = await announced.next("ready", "raises", count=2)
    assert (await call(anchor, "raises", second.instance))[0].failure == "timeout"
