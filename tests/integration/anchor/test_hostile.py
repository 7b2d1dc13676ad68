"""Input made to do harm, from clients and from workers: an Anchor refuses it and goes on."""

import pytest

from contracts import codec, subjects
from contracts.errors import Refused
from contracts.jobs import MAX_JOB_BYTES, MAX_REQUEST_BYTES, Call, JobReceipt
from contracts.service import raise_refusal
from tests.kit.anchor import Client, ScriptedWorker, answers, known, workers
from tests.kit.nats_server import NatsServer

pytestmark = pytest.mark.usefixtures("anchor")


async def test_a_request_that_grows_when_it_is_encoded_runs_or_is_refused_and_never_vanishes(
    server: NatsServer, client: Client
) -> None:
    """A bug once: numbers and control characters made a job larger than its own reader's limit."""
    fits = b'{"function":"ping","params":{"a":"' + b"x" * (MAX_JOB_BYTES - 1000) + b'"}}'
    grow = (
        b'{"function":"ping","params":{"a":[' + b",".join([b"1e9"] * 40_000) + b"]}}",
        b'{"function":"ping","params":{"a":[' + b",".join([b"1.5"] * 60_000) + b"]}}",
        b'{"function":"ping","params":{"a":"' + b"x" * (MAX_REQUEST_BYTES - 200) + b'"}}',
    )
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        msg = await client.bus.nc.request(subjects.SUBMIT, fits, timeout=5)
        await client.result(codec.decode(msg.data, JobReceipt).job)
        for body in grow:
            msg = await client.bus.nc.request(subjects.SUBMIT, body, timeout=5)
            with pytest.raises(Refused, match="over the limit"):
                raise_refusal(msg.headers)
        await client.drained()


@pytest.mark.parametrize(
    "claims",
    [{"labels": "nonsense"}, {"labels": "[" * 9000}, {"limits": '{"concurrency":-1}'}, {"limits": "null"}],
    ids=["no JSON", "deep", "negative", "null"],
)
async def test_nothing_that_a_worker_says_of_itself_ends_the_anchor(
    server: NatsServer, client: Client, claims: dict[str, str]
) -> None:
    hostile, good = ScriptedWorker(server, answers, claims=claims), ScriptedWorker(server, answers)
    await hostile.start(announce=False)
    try:
        async with workers(good):
            await known(client)
            for _ in range(4):
                await client.result((await client.submit()).job)
    finally:
        await hostile.vanish()


async def test_an_answer_for_another_job_is_no_answer(server: NatsServer, client: Client) -> None:
    async def lies(worker: ScriptedWorker, call: Call) -> None:
        if call.params:
            worker.says = "another-job"
        else:
            await worker.store(call)

    async with workers(ScriptedWorker(server, lies)):
        await known(client)
        result = await client.result((await client.submit(params={"x": 1})).job, within=20)
    assert result.by == "anchor1"
    assert result.failure is not None
    assert "another job" in result.failure.detail
