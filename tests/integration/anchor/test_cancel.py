"""A job is cancelled wherever it is, and has exactly one result whatever happens in the same moment."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts import codec, streams, subjects
from contracts.errors import InvalidField, Refused
from contracts.failure import Blame, Code
from contracts.jobs import CANCELLED_CODE, Call, new_job_id
from contracts.modules import Health
from contracts.results import Result
from tests.kit.anchor import AnchorProcess, Client, ScriptedWorker, answers, known, workers
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer

pytestmark = pytest.mark.usefixtures("anchor")
HANG = {"hang": 1}


async def hangs(worker: ScriptedWorker, call: Call) -> None:
    """Hang for ever when asked to, else answer at once."""
    if call.params == HANG:
        await asyncio.Event().wait()
    await worker.store(call)


@pytest.fixture
async def second(server: NatsServer) -> AsyncIterator[AnchorProcess]:
    process = AnchorProcess(server, "anchor2")
    await process.start()
    yield process
    await process.close()


async def in_hand(client: Client, *anchors: str) -> int:
    """Jobs that Anchors have in hand, as they said last."""
    beats = [await client.bus.js.get_last_msg(streams.HEALTH, subjects.health(name)) for name in anchors]
    return sum(codec.decode(beat.data or b"", Health).in_flight for beat in beats)


async def _empty_handed(client: Client, *anchors: str) -> bool:
    return await in_hand(client, *anchors) == 0


async def running(client: Client, worker: ScriptedWorker) -> str:
    """Submit a job that hangs; return it once the worker has it."""
    job = (await client.submit(params=HANG)).job
    await eventually(lambda: job in [call.job for call in worker.calls], within=5)
    return job


def cancelled(result: Result, reason: str = "by ann") -> bool:
    failure = result.failure
    return failure is not None and (failure.code, failure.blame, failure.detail) == (
        Code.CANCELLED,
        Blame.REQUEST,
        reason,
    )


async def test_a_queued_job_is_cancelled_and_never_runs(server: NatsServer, client: Client) -> None:
    worker = ScriptedWorker(server, hangs, concurrency=1)
    async with workers(worker):
        await known(client)
        await running(client, worker)
        job = (await client.submit(params={"x": 1})).job
        reply = await client.cancel(job, "wrong target")
        assert (reply.state, reply.failure, reply.repeated) == ("cancelled", "cancelled", False)
        assert await client.count("JOBS") == 1, "only the running one is left"
        result = await client.result(job)
        assert cancelled(result, "by ann: wrong target")
        assert result.by == "anchor1"
        assert result.params == {"x": 1}
        assert await client.story(job, "cancelled") == ["accepted", "cancelled"]
        assert client.events[job][-1].reason == "by ann: wrong target"
        assert job not in [call.job for call in worker.calls]


async def test_cancelling_a_running_job_frees_its_slot_and_blames_nobody(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    worker = ScriptedWorker(server, hangs, concurrency=1)
    jobs: list[str] = []
    async with workers(worker):
        await known(client)
        for _ in range(6):  # more than a breaker bears in a row
            job = await running(client, worker)
            after = (await client.submit(params={"x": 1})).job
            assert (await client.cancel(job)).state == "cancelled"
            assert cancelled(await client.result(job))
            assert (await client.result(after, within=3)).by == worker.instance
            assert sorted(await client.story(job, "cancelled")) == sorted(["accepted", "dispatched", "cancelled"])
            assert worker.told_to_end[-1] == job
            jobs.append(job)
        await client.drained(within=5)
    assert all(len(client.events[job]) == 3 for job in jobs), "nobody tried one again or spoke of it afterwards"
    assert "dispatch failed" not in anchor.log.read_text()


async def test_a_worker_that_does_not_end_is_let_go_and_its_late_result_is_not_stored(
    server: NatsServer, client: Client
) -> None:
    late = asyncio.Event()

    async def ignores(worker: ScriptedWorker, call: Call) -> None:
        if call.params == HANG:
            await late.wait()
        await worker.store(call)

    worker = ScriptedWorker(server, ignores, concurrency=2)
    worker.ends_cancelled = False
    async with workers(worker):
        await known(client)
        job = await running(client, worker)
        await eventually(lambda: in_hand(client, "anchor1"))
        await client.cancel(job)
        await eventually(lambda: _empty_handed(client, "anchor1"), within=10)
        assert worker.told_to_end
        late.set()
        await client.result((await client.submit()).job)
        assert cancelled(await client.result(job))


async def test_a_job_that_ended_keeps_its_result(server: NatsServer, client: Client) -> None:
    stored = asyncio.Event()

    async def stores_and_lingers(worker: ScriptedWorker, call: Call) -> None:
        await worker.store(call)
        if call.params == HANG:
            stored.set()
            await asyncio.sleep(0.5)

    worker = ScriptedWorker(server, stores_and_lingers)
    async with workers(worker):
        await known(client)
        job = (await client.submit(params=HANG)).job
        await stored.wait()
        reply = await client.cancel(job)
        assert (reply.state, reply.failure) == ("ended", None)
        assert sorted(await client.story(job)) == sorted(["accepted", "dispatched", "finished"])
        assert (await client.result(job)).by == worker.instance
        assert worker.told_to_end == []


async def test_many_cancel_at_once_and_one_of_them_does(
    server: NatsServer, second: AnchorProcess, client: Client
) -> None:
    assert second.name == "anchor2"
    worker = ScriptedWorker(server, hangs, concurrency=4)
    async with workers(worker):
        await known(client)
        for _ in range(5):
            job = await running(client, worker)
            replies = await asyncio.gather(*(client.cancel(job) for _ in range(8)))
            assert {reply.state for reply in replies} == {"cancelled"}
            assert [reply.repeated for reply in replies].count(False) == 1
            assert cancelled(await client.result(job))
            assert client.events[job][-1].event == "cancelled"
        await client.drained(within=5)
    assert all(len(results) == 1 for results in client.results.values())


async def test_jobs_cancelled_while_two_anchors_pull_them_have_one_result_each(
    server: NatsServer, second: AnchorProcess, client: Client
) -> None:
    assert second.name == "anchor2"

    async def short(worker: ScriptedWorker, call: Call) -> None:
        await asyncio.sleep(0.02)
        await worker.store(call)

    group = [ScriptedWorker(server, short, concurrency=2, node=node) for node in ("n1", "n2")]
    async with workers(*group):
        await known(client)

        async def one(pause: float) -> str:
            job = (await client.submit(params={"x": 1})).job
            await asyncio.sleep(pause)
            reply = await client.cancel(job)
            result = await client.result(job)
            assert (reply.state == "cancelled") == (result.by in {"anchor1", "anchor2"})
            assert (reply.state == "cancelled") == cancelled(result)
            return reply.state

        states = [state for n in range(6) for state in await asyncio.gather(*(one(i / 200) for i in range(12 + n % 2)))]
        await client.drained()
    assert set(states) == {"cancelled", "ended"}
    assert all(len(results) == 1 for results in client.results.values())


async def test_a_job_that_waits_in_another_anchors_hand_is_let_go_at_once(
    server: NatsServer, second: AnchorProcess, client: Client
) -> None:
    assert second.name == "anchor2"

    async def fails(worker: ScriptedWorker, call: Call) -> None:
        if call.params == HANG:
            await worker.announce("stopped")
            raise Refused(500, "worker-fault", "boom")
        await worker.store(call)

    worker = ScriptedWorker(server, fails, concurrency=4)
    async with workers(worker):
        await known(client)
        job = (await client.submit(params=HANG, deadline_s=60)).job
        await client.story(job, "retried")
        await eventually(lambda: in_hand(client, "anchor1", "anchor2"))
        assert (await client.cancel(job)).state == "cancelled"
        assert await client.count("JOBS") == 0
        await eventually(lambda: _empty_handed(client, "anchor1", "anchor2"), within=10)
        assert cancelled(await client.result(job))
        assert sorted(await client.story(job, "cancelled")) == sorted(
            ["accepted", "dispatched", "retried", "cancelled"]
        )


@pytest.mark.parametrize("anchor", [{"ack_wait": "60"}], indirect=True, ids=["no redelivery"])
async def test_a_running_job_is_cancelled_though_its_anchor_was_killed(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    worker = ScriptedWorker(server, hangs, concurrency=1)
    async with workers(worker):
        await known(client)
        job = await running(client, worker)
        await anchor.kill()
        other = AnchorProcess(server, "anchor2", ack_wait="60")
        await other.start()
        try:
            assert (await client.cancel(job)).state == "cancelled"
            await client.drained(within=5)
            await eventually(lambda: worker.told_to_end, within=5)
            after = await eventually(lambda: _submitted(client), within=10)
            assert (await client.result(after, within=5)).by == worker.instance
            assert cancelled(await client.result(job))
        finally:
            await other.close()
    assert [call.job for call in worker.calls].count(job) == 1


async def _submitted(client: Client) -> str:
    try:
        return (await client.submit()).job
    except Refused:
        return ""


async def test_a_worker_that_only_says_cancelled_is_at_fault(server: NatsServer, client: Client) -> None:
    async def lies(worker: ScriptedWorker, call: Call) -> None:
        if call.params == HANG:
            raise Refused(CANCELLED_CODE, "cancelled", "says who")
        await worker.store(call)

    async with workers(ScriptedWorker(server, lies)):
        await known(client)
        job = (await client.submit(params=HANG)).job
        result = await client.result(job)
        await client.drained()
    assert result.failure is not None
    assert result.failure.code is Code.WORKER_FAULT
    assert "says who" in result.failure.detail


async def test_a_key_still_stands_for_its_cancelled_job(server: NatsServer, client: Client) -> None:
    worker = ScriptedWorker(server, hangs, concurrency=1)
    async with workers(worker):
        await known(client)
        receipt = await client.submit(params=HANG, key="once")
        await client.cancel(receipt.job)
        again = await client.submit(params=HANG, key="once")
        await client.drained(within=5)
    assert (again.job, again.repeated) == (receipt.job, True)
    assert cancelled(await client.result(receipt.job))


async def test_a_cancel_of_nothing_says_so(client: Client) -> None:
    with pytest.raises(Refused) as unknown:
        await client.cancel(new_job_id())
    assert (unknown.value.code, unknown.value.reason) == (404, "no-such-job")
    for job, reason, field in (("a.>", "", "job"), ("", "", "job"), ("j", "x" * 201, "reason")):
        with pytest.raises(InvalidField) as wrong:
            await client.cancel(job, reason)
        assert (wrong.value.code, wrong.value.field) == (400, field)


async def test_a_job_is_found_in_the_moment_of_its_receipt(server: NatsServer, client: Client) -> None:
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        for _ in range(20):
            job = (await client.submit()).job
            assert (await client.cancel(job)).state in {"cancelled", "ended"}
            await client.result(job)
