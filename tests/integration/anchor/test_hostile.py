"""Input made to do harm, from clients and from workers: an Anchor refuses it and goes on."""

import json
from collections.abc import AsyncIterator

import pytest

from contracts import codec, subjects
from contracts.access import roles
from contracts.errors import InvalidField, Refused
from contracts.jobs import MAX_JOB_BYTES, MAX_REQUEST_BYTES, Call, JobReceipt
from contracts.service import raise_refusal
from tests.kit.anchor import AnchorProcess, Client, ScriptedWorker, answers, known, workers
from tests.kit.hostile import messages, send_raw, unreadable
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


async def refusals(client: Client, subject: str, kind: str, *, headers: dict[str, str] | None = None) -> list[Refused]:
    """Ask with every harmful form of a message; each gets an answer, most of them a refusal."""
    found: list[Refused] = []
    for _, data, media in messages(kind):
        msg = await client.bus.nc.request(subject, data, headers={codec.HEADER: media, **(headers or {})}, timeout=10)
        try:
            raise_refusal(msg.headers)
        except Refused as refused:
            found.append(refused)
    assert {refused.code for refused in found} <= {400, 404, 409, 413, 429}
    assert min(len(refused.message) for refused in found) > 10
    return found


async def test_every_harmful_submission_is_refused_by_name_and_leaves_nothing(
    server: NatsServer, client: Client
) -> None:
    async with workers(ScriptedWorker(server, answers, concurrency=64)):
        await known(client)
        refused = await refusals(client, subjects.SUBMIT, "JobRequest")
        fields = {
            refusal.field.partition(".")[0].partition("[")[0]
            for refusal in refused
            if isinstance(refusal, InvalidField)
        }
        assert {"message", "function", "params", "node", "match", "class", "deadline_s", "key", "v"} <= fields
        await client.drained()
        await client.result((await client.submit()).job)
        assert await client.count("JOBS") == 0


async def test_every_harmful_request_to_cancel_is_refused(server: NatsServer, client: Client) -> None:
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        assert len(await refusals(client, subjects.CANCEL, "CancelRequest")) > 20
        await client.result((await client.submit()).job)


async def test_numbers_that_only_json_can_hold_are_refused_by_name(server: NatsServer, client: Client) -> None:
    """A bug once: accepted by the schema, they could not be put into the queue, and the answer was `internal`."""
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        body = b'{"function":"ping","params":{"a":%d}}' % 2**70
        msg = await client.bus.nc.request(subjects.SUBMIT, body, timeout=5)
        with pytest.raises(InvalidField, match=r"params\.a: a whole number must fit into 64 bits"):
            raise_refusal(msg.headers)
        body = b'{"function":"ping","params":{"a":' + b"[" * 100 + b"]" * 100 + b"}}"
        msg = await client.bus.nc.request(subjects.SUBMIT, body, timeout=5)
        with pytest.raises(InvalidField, match="nested deeper than 64"):
            raise_refusal(msg.headers)


async def test_a_key_used_for_something_else_keeps_the_first_job(server: NatsServer, client: Client) -> None:
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        first = await client.submit(key="k-1", params={"x": 1})
        for other in ({"params": {"x": 2}}, {"params": {"x": 1.0}, "deadline_s": 7}, {"class": "batch"}):
            body = json.dumps({"function": "ping", "key": "k-1", "params": {"x": 1}} | other).encode()
            msg = await client.bus.nc.request(subjects.SUBMIT, body, timeout=5)
            with pytest.raises(InvalidField) as refused:
                raise_refusal(msg.headers)
            assert (refused.value.code, refused.value.field) == (409, "key")
        await client.result(first.job)
        await client.drained()


async def test_a_deadline_that_is_over_before_a_worker_is_free_ends_with_a_result(
    server: NatsServer, client: Client
) -> None:
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        told = [(await client.submit(deadline_s=1e-9)).job for _ in range(5)]
        for job in told:
            found = await client.result(job)
            assert found.failure is not None
            assert found.failure.code == "expired"
        await client.drained()


async def test_nothing_that_workers_and_runtimes_publish_harms_an_anchor(server: NatsServer, client: Client) -> None:
    """Health, results, progress, log lines and announcements, in every harmful form, well-formed protocol or not."""
    bad, good = ScriptedWorker(server, answers, node="n2"), ScriptedWorker(server, answers)
    await bad.start(announce=False)
    runtime = await server.connect(roles.RUNTIME, "n2")
    try:
        async with workers(good):
            await known(client)
            told = {
                subjects.health(bad.instance): (bad.bus, "Health"),
                subjects.out("j1", bad.instance): (bad.bus, "Result"),
                subjects.progress("j1", bad.instance): (bad.bus, "Progress"),
                subjects.logs(bad.instance): (bad.bus, "Log"),
                subjects.announce("n2"): (runtime, "Announcement"),
            }
            for subject, (speaker, kind) in told.items():
                for _, data, media in messages(kind):
                    await speaker.publish(subject, data, media=media)
                for name, protocol in unreadable(subject.encode()).items():
                    # Of headers of one byte on a stream that republishes, nats-server 2.15.1 itself dies.
                    if speaker is not runtime or name != "headers that are none":
                        await send_raw(speaker, protocol)
            for token in (b"\xff", b"a\x0bb", b"\x0c"):
                await send_raw(bad.bus, b"PUB mmn.out.%b.%b 2\r\nhi\r\n" % (token, bad.instance.encode()))
            await bad.bus.flush()
            await runtime.flush()
            results = [await client.result((await client.submit(node="n1")).job) for _ in range(5)]
            assert {result.by for result in results} == {good.instance}
            await client.drained()
    finally:
        await bad.vanish()


async def test_nothing_that_another_anchor_tells_of_budgets_harms_an_anchor(server: NatsServer, client: Client) -> None:
    other = await server.connect(roles.ANCHOR, "anchor9")
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        for _, data, media in messages("Tally"):
            await other.publish(subjects.spent("anchor9"), data, media=media)
        for protocol in unreadable(subjects.spent("anchor9").encode()).values():
            await send_raw(other, protocol)
        await client.result((await client.submit()).job)
        await client.drained()


async def test_no_answer_of_an_anchor_goes_where_only_the_anchor_may_write(server: NatsServer, client: Client) -> None:
    """A bug once: the asker named a queue or a bucket as the place for the answer, and it was written there."""
    people = await server.connect(roles.OPERATOR, "operator")
    for subject in ("$SRV.PING", "$SRV.INFO", "$SRV.STATS.anchor.anchor1", "mmn.jobs.submit", "mmn.jobs.cancel"):
        for protocol in unreadable(subject.encode()).values():
            await send_raw(people, protocol)
        for reply in ("mmn.jobs.event.j", "mmn.jobs.queue.live.ping.any", "$KV.functions.ping", "mmn.fn.ping.n1_x"):
            await people.nc.publish(subject, b"{}", reply=reply)
    await people.flush()
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        await client.drained()
    assert await client.count("KV_functions") == 0
    assert "j" not in client.events


@pytest.fixture(autouse=True)
async def unharmed(anchor: AnchorProcess) -> AsyncIterator[None]:
    """Whatever a test sends: the Anchor is the same process at the end, and nothing in it failed."""
    yield
    assert anchor.running
    log = anchor.log.read_text()
    assert "Traceback" not in log
    assert "request failed" not in log
    assert "reconnected to NATS" not in log
