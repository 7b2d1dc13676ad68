"""The Anchor against a real server: what it accepts ends with exactly one result, whatever fails."""

import asyncio

import nats.errors
import pytest

from contracts import codec, subjects
from contracts.access import roles
from contracts.errors import InvalidField, Refused
from contracts.failure import Code
from contracts.jobs import Call, JobReceipt
from contracts.service import raise_refusal
from tests.kit.anchor import AnchorProcess, Client, ScriptedWorker, answers, known, workers
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer

pytestmark = pytest.mark.usefixtures("anchor")


@pytest.mark.parametrize("media", [codec.JSON, codec.MSGPACK, codec.CBOR])
async def test_a_job_is_accepted_run_once_and_told_about(server: NatsServer, client: Client, media: str) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await known(client)
        receipt = await client.submit(media=media, params={"x": 1})
        result = await client.result(receipt.job)
        assert await client.story(receipt.job) == ["accepted", "dispatched", "finished"]
        await client.drained()
    assert receipt.place == "any"
    assert receipt.queue_depth == 1
    assert result.by == worker.instance
    accepted = client.events[receipt.job][0].accepted
    assert accepted is not None
    assert accepted.request.params == {"x": 1}


async def test_a_pinned_job_runs_on_its_node(server: NatsServer, client: Client) -> None:
    here, there = ScriptedWorker(server, answers), ScriptedWorker(server, answers, node="n2")
    async with workers(here, there):
        await known(client)
        for _ in range(5):
            receipt = await client.submit(node="n2")
            assert (await client.result(receipt.job)).by == there.instance


async def test_an_instance_is_found_without_any_announcement(server: NatsServer, client: Client) -> None:
    worker = ScriptedWorker(server, answers)
    await worker.start(announce=False)
    try:
        await known(client)
    finally:
        await worker.vanish()


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", 400, "message"),
        (b"{", 400, "message"),
        (b"[]", 400, "message"),
        (b'{"params":{}}', 400, "function"),
        (b'{"function":"ping","deadline_s":0}', 400, "deadline_s"),
        (b'{"function":"ping","class":"express"}', 400, "class"),
        (b'{"function":"ping","v":9}', 400, "v"),
        (b'{"function":"ping","params":{"a":1,"b":2,"c":3}}', 400, "params"),
        (b'{"function":"nope"}', 404, None),
        (b'{"function":"mmn.*"}', 400, "function"),
        (b'{"function":"ping","node":">"}', 400, "node"),
        (b'{"function":"ping","match":{"a":"b"}}', 400, "match"),
        (b'{"function":"ping","params":{"a":"' + b"x" * 300_000 + b'"}}', 413, None),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_bad_request_is_named_and_nothing_is_stored(
    server: NatsServer, client: Client, body: bytes, code: int, field: str | None
) -> None:
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        await client.drained()
        msg = await client.bus.nc.request(subjects.SUBMIT, body, timeout=5)
        with pytest.raises(Refused) as caught:
            raise_refusal(msg.headers)
        assert await client.count("JOBS") == 0
    assert caught.value.code == code
    assert (caught.value.field if isinstance(caught.value, InvalidField) else None) == field


async def test_a_key_stands_for_one_job_however_often_it_is_submitted(server: NatsServer, client: Client) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await known(client)
        async with asyncio.TaskGroup() as tasks:
            submits = [tasks.create_task(client.submit(params={"x": 1}, key="order-1")) for _ in range(5)]
        receipts = [submit.result() for submit in submits]
        await client.result(receipts[0].job)
        receipts.append(await client.submit(params={"x": 1}, key="order-1"))
        await client.drained()
        with pytest.raises(InvalidField) as caught:
            await client.submit(params={"x": 2}, key="order-1")
        assert (await client.submit(params={"x": 2}, key="order-2")).job != receipts[0].job
        with pytest.raises(InvalidField, match="key"):
            await client.submit(key="no spaces")
    assert (caught.value.code, caught.value.reason, caught.value.field) == (409, "key-reused", "key")
    assert len({receipt.job for receipt in receipts}) == 1
    assert sum(not receipt.repeated for receipt in receipts) == 1
    assert len([call for call in worker.calls if call.job == receipts[0].job]) == 1


async def test_a_full_queue_refuses_with_a_time_to_come_back(server: NatsServer, client: Client) -> None:
    release = asyncio.Event()

    async def waits(worker: ScriptedWorker, call: Call) -> None:
        await release.wait()
        await worker.store(call)

    async with workers(ScriptedWorker(server, waits, concurrency=1)):
        release.set()
        await known(client)
        release.clear()
        accepted: list[JobReceipt] = []

        async def fill() -> None:
            while len(accepted) < 50:
                accepted.append(await client.submit())

        with pytest.raises(Refused) as caught:
            await fill()
        assert (caught.value.code, caught.value.reason) == (429, "queue-full")
        assert caught.value.retry_after is not None
        assert caught.value.retry_after >= 1.0
        release.set()
        for receipt in accepted:
            await client.result(receipt.job, within=20)
    assert len(accepted) >= 20


async def test_a_fault_is_retried_on_another_instance(server: NatsServer, client: Client) -> None:
    async def fails(_worker: ScriptedWorker, _call: Call) -> None:
        raise Refused(500, "worker-fault", "boom")

    good, bad = ScriptedWorker(server, answers), ScriptedWorker(server, fails)
    async with workers(good, bad):
        await known(client)
        jobs = [(await client.submit()).job for _ in range(16)]
        for job in jobs:
            assert (await client.result(job)).by == good.instance
            await client.story(job)
    assert bad.calls
    retried = [job for job in jobs if "retried" in [event.event for event in client.events[job]]]
    assert {call.job for call in bad.calls} >= set(retried)
    assert retried


async def test_faults_everywhere_end_in_one_result_that_says_so(server: NatsServer, client: Client) -> None:
    healthy = asyncio.Event()
    healthy.set()

    async def fails(worker: ScriptedWorker, call: Call) -> None:
        if not healthy.is_set():
            raise Refused(500, "worker-fault", "boom")
        await worker.store(call)

    worker = ScriptedWorker(server, fails)
    async with workers(worker):
        await known(client)
        healthy.clear()
        worker.calls.clear()
        result = await client.result((await client.submit()).job)
    assert result.by == "anchor1"
    assert result.failure is not None
    assert result.failure.code is Code.WORKER_FAULT
    assert "boom" in result.failure.detail
    assert [call.attempt for call in worker.calls] == [1, 2, 3]


async def test_pressure_costs_no_attempt(server: NatsServer, client: Client) -> None:
    refusals = 6

    async def busy_at_first(worker: ScriptedWorker, call: Call) -> None:
        nonlocal refusals
        if call.params and refusals:
            refusals -= 1
            raise Refused(429, "busy", "full", retry_after=0.02)
        await worker.store(call)

    worker = ScriptedWorker(server, busy_at_first)
    async with workers(worker):
        await known(client)
        receipt = await client.submit(params={"x": 1})
        result = await client.result(receipt.job)
        story = await client.story(receipt.job)
    assert result.failure is None
    assert story.count("rerouted") == 6
    assert worker.calls[-1].attempt == 1


async def test_a_worker_killed_with_the_call_in_hand_loses_nothing(server: NatsServer, client: Client) -> None:
    taken = asyncio.Event()

    async def hangs(_worker: ScriptedWorker, _call: Call) -> None:
        taken.set()
        await asyncio.Event().wait()

    victim, other = ScriptedWorker(server, hangs, concurrency=1), ScriptedWorker(server, answers)
    async with workers(victim):
        await eventually(lambda: _sent(client), within=10)
        await taken.wait()
        async with workers(other):
            await victim.vanish()
            await victim.announce("failed", "killed by signal 9")
            job = victim.calls[0].job
            result = await client.result(job)
            story = await client.story(job)
    assert result.by == other.instance
    assert "retried" in story


async def test_a_result_whose_answer_is_lost_is_found_in_the_stream(server: NatsServer, client: Client) -> None:
    async def stores_and_is_silent(worker: ScriptedWorker, call: Call) -> None:
        await worker.store(call)
        if call.params:
            await asyncio.Event().wait()

    async with workers(ScriptedWorker(server, stores_and_is_silent)):
        await known(client)
        receipt = await client.submit(params={"x": 1})
        await client.result(receipt.job)
        story = await client.story(receipt.job)
        await client.drained()
    assert story == ["accepted", "dispatched", "rerouted", "finished"]


async def _refused(client: Client) -> bool:
    try:
        await client.submit(node="n9")
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        return True
    except Refused as refusal:
        return refusal.code == 503
    return False


async def _sent(client: Client) -> bool:
    try:
        await client.submit()
    except Refused:
        return False
    return True


async def test_a_worker_that_left_without_a_word_is_noticed_by_the_call_itself(
    server: NatsServer, client: Client
) -> None:
    gone, other = ScriptedWorker(server, answers, concurrency=1), ScriptedWorker(server, answers, concurrency=1)
    async with workers(gone, other):
        await known(client)
        await gone.vanish()
        for _ in range(8):
            assert (await client.result((await client.submit()).job)).by == other.instance


async def test_a_killed_anchors_jobs_end_once_after_its_restart(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    release = asyncio.Event()

    async def waits(worker: ScriptedWorker, call: Call) -> None:
        if call.params:
            await release.wait()
        await worker.store(call)

    worker = ScriptedWorker(server, waits, concurrency=2)
    async with workers(worker):
        await known(client)
        jobs = [(await client.submit(params={"x": 1})).job for _ in range(6)]
        await eventually(lambda: len([call for call in worker.calls if call.params]) >= 2, within=5)
        await anchor.kill()
        release.set()
        await anchor.start()
        for job in jobs:
            await client.result(job, within=20)
        await client.drained()
    assert all(len(client.results[job]) == 1 for job in jobs)


async def test_a_stopping_anchor_finishes_what_it_has_and_exits_cleanly(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    release = asyncio.Event()

    async def waits(worker: ScriptedWorker, call: Call) -> None:
        if call.params:
            await release.wait()
        await worker.store(call)

    worker = ScriptedWorker(server, waits)
    async with workers(worker):
        await known(client)
        job = (await client.submit(params={"x": 1})).job
        await eventually(lambda: any(call.params for call in worker.calls), within=5)
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(anchor.stop())
            await eventually(lambda: _refused(client), within=5)
            release.set()
        assert stopping.result() == 0
        assert (await client.result(job)).by == worker.instance
    assert await client.count("JOBS") == 0


async def test_the_servers_restart_loses_no_accepted_job(server: NatsServer, client: Client) -> None:
    release = asyncio.Event()

    async def waits(worker: ScriptedWorker, call: Call) -> None:
        if call.params:
            await release.wait()
        await worker.store(call)

    async with workers(ScriptedWorker(server, waits, concurrency=2)):
        await known(client)
        jobs = [(await client.submit(params={"x": 1})).job for _ in range(6)]
        await server.stop()
        await server.start()
        release.set()
        await client.drained(within=30)
        assert await client.count("RESULTS") >= len(jobs)


async def test_a_job_that_nobody_can_run_in_time_expires_with_a_result(server: NatsServer, client: Client) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await known(client)
        kv = await client.bus.js.key_value("functions")
        await kv.put("ping", DEPLOYMENT)
        await worker.vanish()
        await worker.announce("stopped")
        receipt = await eventually(lambda: client.submit(deadline_s=0.5), within=5)
        result = await client.result(receipt.job)
        assert await client.story(receipt.job, "expired") == ["accepted", "expired"]
        await client.drained()
    assert result.failure is not None
    assert result.failure.code is Code.EXPIRED


async def test_jobs_of_a_removed_function_end_with_a_result(server: NatsServer, client: Client) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await known(client)
        kv = await client.bus.js.key_value("functions")
        await kv.put("ping", DEPLOYMENT)
        await worker.vanish()
        await worker.announce("stopped")
        receipt = await eventually(lambda: client.submit(), within=5)  # noqa: PLW0108
        await kv.delete("ping")
        result = await client.result(receipt.job)
        await client.drained()
    assert result.failure is not None
    assert result.failure.code is Code.FUNCTION_GONE


async def test_two_anchors_share_the_work_and_either_may_die(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    second = AnchorProcess(server, "anchor2")
    await second.start()
    try:
        async with workers(ScriptedWorker(server, answers), ScriptedWorker(server, answers, node="n2")):
            await known(client)
            jobs = [(await client.submit()).job for _ in range(15)]
            await anchor.kill()
            for job in jobs:
                await client.result(job, within=15)
            await client.result((await client.submit()).job)
            await client.drained()
    finally:
        await second.close()


async def test_no_role_needed_more_than_it_has(server: NatsServer, anchor: AnchorProcess, client: Client) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await known(client)
        assert not worker.bus.denied
    operator = await server.connect(roles.OPERATOR, "operator")
    msg = await operator.nc.request(subjects.SUBMIT, b'{"function":"nope"}', timeout=2)
    with pytest.raises(Refused, match="deploy it first"):
        raise_refusal(msg.headers)
    assert "permission denied" not in anchor.log.read_text()


DEPLOYMENT = (
    b'{"function":"ping","version":"1.0.0","digest":"' + b"d" * 64 + b'","manifest":{"summary":"scripted"},'
    b'"workers":1,"match":{},"enabled":true,"versions":{}}'
)


@pytest.mark.parametrize("anchor", [{"sweep_every": "60"}], indirect=True, ids=["seldom swept"])
async def test_no_job_waits_for_the_sweeper_to_be_found(server: NatsServer, client: Client) -> None:
    """Two bugs once: a pull that came back empty made the Anchor forget a job admitted meanwhile, or just before."""
    async with workers(ScriptedWorker(server, answers, concurrency=2)):
        await known(client)

        async def submit_some() -> None:
            for _ in range(100):
                receipt = await client.submit(node="n1")
                await client.result(receipt.job, within=5)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(submit_some())
