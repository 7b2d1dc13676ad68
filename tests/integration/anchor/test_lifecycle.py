"""What becomes of jobs while their node drains, their function is disabled, or deleted."""

import asyncio
from typing import Any

import msgspec
import pytest

from contracts import clock, codec, streams, subjects
from contracts.access import roles
from contracts.bus import Bus
from contracts.errors import Refused
from contracts.failure import Code
from contracts.functions import Deployment, Manifest
from contracts.jobs import Call
from contracts.modules import Health, State
from tests.kit.anchor import Client, ScriptedWorker, answers, known, workers
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer

pytestmark = pytest.mark.usefixtures("anchor")
WISH = Deployment(function="ping", version="1.0.0", digest="d" * 64, manifest=Manifest(summary="scripted"))


@pytest.fixture
async def runtime(server: NatsServer) -> Bus:
    """The identity of node n1's runtime."""
    return await server.connect(roles.RUNTIME, "n1")


async def says(runtime: Bus, state: State) -> None:
    """A heartbeat of the runtime of n1."""
    beat = Health(instance="n1", kind="runtime", state=state, at=clock.utc_now(), node="n1", labels={"site": "fra"})
    await runtime.publish(subjects.health("n1"), codec.encode(beat, codec.JSON))
    await runtime.flush()


async def wish(client: Client, **changes: object) -> None:
    """Store the deployment of the scripted function."""
    bucket = await client.bus.js.key_value(streams.BUCKET_FUNCTIONS)
    await bucket.put("ping", codec.encode(msgspec.structs.replace(WISH, **changes), codec.JSON))


async def refused(client: Client, **fields: Any) -> Refused | None:
    try:
        await client.submit(**fields)
    except Refused as refusal:
        return refusal
    return None


async def test_a_job_pinned_to_a_draining_node_waits_or_is_refused_and_is_never_lost(
    server: NatsServer, client: Client, runtime: Bus
) -> None:
    worker, other = ScriptedWorker(server, answers), ScriptedWorker(server, answers, node="n2")
    async with workers(worker, other):
        await known(client)
        await wish(client)
        await worker.announce("draining", "the node is draining")
        waiting = (await client.submit(node="n1", deadline_s=60)).job

        async def told() -> Refused | None:
            await says(runtime, "draining")
            return await refused(client, node="n1")

        refusal = await eventually(told)
        assert refusal is not None
        assert (refusal.code, refusal.reason, refusal.retry_after) == (503, "node-draining", 10.0)
        assert "n1 is draining" in refusal.message
        assert (await client.result((await client.submit()).job)).by == other.instance
        await worker.announce("stopped", "the node is draining")
        assert (await refused(client, node="n1")) is not None
        assert waiting not in client.results
        await says(runtime, "up")
        again = ScriptedWorker(server, answers)
        async with workers(again):
            assert (await client.result(waiting)).by == again.instance
            await client.result((await client.submit(node="n1")).job)
    assert waiting not in [call.job for call in worker.calls]


async def test_jobs_of_a_disabled_function_wait_until_it_is_enabled_or_their_deadline(
    server: NatsServer, client: Client
) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await known(client)
        await wish(client)
        await worker.vanish()
        await worker.announce("stopped", "the function is disabled")
        patient = (await eventually(lambda: client.submit(deadline_s=60), within=5)).job
        hasty = (await client.submit(deadline_s=3)).job
        await wish(client, enabled=False)

        async def disabled() -> bool:
            refusal = await refused(client)
            return refusal is not None and (refusal.code, refusal.reason) == (409, "disabled")

        await eventually(disabled)
        failure = (await client.result(hasty, within=20)).failure
        assert failure is not None
        assert failure.code is Code.EXPIRED
        assert patient not in client.results
        await wish(client)
        again = ScriptedWorker(server, answers)
        async with workers(again):
            assert (await client.result(patient)).by == again.instance


async def test_a_deleted_function_refuses_new_jobs_and_closes_those_that_wait(
    server: NatsServer, client: Client
) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await known(client)
        await wish(client)
        await worker.announce("draining", "the function was deleted")

        async def known_to_drain() -> bool:
            found = await client.inspector.js.get_last_msg(streams.HEALTH, subjects.health("anchor1"))
            routing = codec.decode(found.data or b"", Health).routing
            return any((one.instance, one.state) == (worker.instance, "draining") for one in routing)

        # Before that a job may still be given to it, and be done.
        await eventually(known_to_drain)
        jobs = [(await client.submit(deadline_s=60)).job for _ in range(3)]
        bucket = await client.bus.js.key_value(streams.BUCKET_FUNCTIONS)
        await bucket.delete("ping")

        async def unknown() -> bool:
            refusal = await refused(client)
            return refusal is not None and refusal.code == 404

        await eventually(unknown)
        await worker.vanish()
        await worker.announce("stopped", "the function was deleted")
        for job in jobs:
            failure = (await client.result(job)).failure
            assert failure is not None
            assert failure.code is Code.FUNCTION_GONE
        await client.drained()


async def test_a_job_whose_worker_is_lost_after_its_function_was_deleted_ends_long_before_its_deadline(
    server: NatsServer, client: Client
) -> None:
    taken = asyncio.Event()

    async def hangs(worker: ScriptedWorker, call: Call) -> None:
        if call.params:
            taken.set()
            await asyncio.Event().wait()
        await worker.store(call)

    worker = ScriptedWorker(server, hangs)
    async with workers(worker):
        await known(client)
        await wish(client)
        job = (await client.submit(params={"hang": 1}, deadline_s=120)).job
        await taken.wait()
        bucket = await client.bus.js.key_value(streams.BUCKET_FUNCTIONS)
        await bucket.delete("ping")
        await worker.vanish()
        await worker.announce("failed", "killed by signal 9")
        failure = (await client.result(job, within=20)).failure
    assert failure is not None
    assert failure.code is Code.FUNCTION_GONE
    await client.drained()
