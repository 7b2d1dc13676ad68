"""A worker comes up, is discovered, answers, and stores exactly one result."""

import asyncio

import pytest

from contracts import codec, streams, subjects
from contracts.bus import Bus
from contracts.errors import InvalidField, Refused
from contracts.jobs import HEADER_QUEUE_NS, HEADER_RUN_NS, CallReply, new_job_id
from contracts.modules import HEADER_PROBE
from contracts.results import Result
from contracts.service import raise_refusal
from contracts.tail import stream_status
from tests.kit.eventually import eventually
from tests.kit.node import Announcements, Node, call, deploy, discovered, stored_result
from tests.kit.wheels import FUNCTIONS, wheel_of

pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture
async def echo(gateway: Bus, node: Node, announced: Announcements) -> str:
    """An instance of the bundle `echo` that is ready."""
    assert node is not None
    await deploy(gateway, wheel_of(FUNCTIONS / "echo"))
    return (await announced.next("ready", "echo")).instance


async def test_a_deployed_function_is_announced_discovered_and_called(
    echo: str, anchor: Bus, gateway: Bus, announced: Announcements
) -> None:
    ready = announced.of("ready", "echo")[0]
    assert ready.card is not None
    assert ready.card.params_schema["properties"].keys() == {"text", "delay_ms"}
    assert ready.labels == {"site": "lab"}

    info = await discovered(anchor, "echo", echo)
    assert info["version"] == "1.0.0"
    assert info["metadata"]["digest"] == ready.digest
    assert {endpoint["name"] for endpoint in info["endpoints"]} == {"call", "any", "cancel"}
    assert "text" in info["endpoints"][0]["metadata"]["params_schema"]

    reply, headers = await call(anchor, "echo", echo, {"text": "hi", "delay_ms": 20})
    assert reply.sequence == 1
    assert int(headers[HEADER_QUEUE_NS]) >= 0
    # The timers of uvloop count in whole milliseconds.
    assert int(headers[HEADER_RUN_NS]) >= 19_000_000
    result = await stored_result(gateway, reply.job)
    assert (result.by, result.node, result.function, result.digest) == (echo, "n1", "echo", ready.digest)
    assert result.data is not None
    assert result.data["text"] == "hi"
    assert result.params == {"text": "hi", "delay_ms": 20}
    assert result.clock is not None
    assert result.quality is not None
    assert result.quality.loop_lag_ns is not None
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 1


async def test_the_server_knows_a_worker_by_the_key_that_is_announced(
    echo: str, anchor: Bus, announced: Announcements
) -> None:
    ready = announced.of("ready", "echo")[0]
    info = await discovered(anchor, "echo", echo)
    assert ready.user_key is not None
    assert ready.user_key.startswith("U")
    assert info["metadata"]["user_key"] == ready.user_key


async def test_a_probe_is_answered_without_running_anything(echo: str, anchor: Bus, gateway: Bus) -> None:
    msg = await anchor.nc.request(subjects.call("echo", echo), b"", headers={HEADER_PROBE: "1"}, timeout=2)
    raise_refusal(msg.headers)
    reply = codec.decode(msg.data, CallReply)
    assert (reply.job, reply.instance, reply.sequence) == ("", echo, None)
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 0


async def test_a_job_called_again_stores_nothing_more(echo: str, anchor: Bus, gateway: Bus) -> None:
    job = new_job_id()
    first, _ = await call(anchor, "echo", echo, job=job)
    second, _ = await call(anchor, "echo", echo, job=job)
    assert (first.sequence, second.sequence) == (1, None)
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 1


async def test_a_job_called_twice_at_once_runs_once(echo: str, anchor: Bus, gateway: Bus) -> None:
    job = new_job_id()
    replies = await asyncio.gather(*(call(anchor, "echo", echo, {"delay_ms": 300}, job=job) for _ in range(2)))
    assert [reply.sequence for reply, _ in replies] == [1, 1]
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 1


async def test_progress_is_published_before_the_result(echo: str, anchor: Bus, gateway: Bus) -> None:
    reply, _ = await call(anchor, "echo", echo)

    async def kept() -> int:
        return (await stream_status(gateway, streams.PROGRESS)).state.messages

    await eventually(kept)
    assert await kept() == 1
    msg = await gateway.js.get_last_msg(streams.PROGRESS, subjects.progress(reply.job, echo))
    assert b'"waiting"' in (msg.data or b"")


async def test_wrong_parameters_are_refused_with_field_and_rule(echo: str, anchor: Bus, gateway: Bus) -> None:
    with pytest.raises(InvalidField) as refused:
        await call(anchor, "echo", echo, {"delay_ms": -1})
    assert refused.value.code == 400
    assert refused.value.field == "params.delay_ms"
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 0


async def test_a_job_whose_time_is_over_is_refused(echo: str, anchor: Bus) -> None:
    with pytest.raises(Refused) as late:
        await call(anchor, "echo", echo, time_left=0)
    assert late.value.code == 408
    with pytest.raises(Refused) as later:
        await call(anchor, "echo", echo, {"delay_ms": 5000}, time_left=0.2)
    assert later.value.code == 408


async def test_a_request_by_hand_is_answered_with_the_result(echo: str, anchor: Bus, gateway: Bus) -> None:
    msg = await anchor.nc.request(subjects.call_any("echo"), b'{"params":{"text":"by hand"}}', timeout=5)
    raise_refusal(msg.headers)
    result = codec.decode(msg.data, Result)
    assert (result.by, result.data and result.data["text"]) == (echo, "by hand")
    assert await stored_result(gateway, result.job) == result


async def test_a_full_worker_answers_429_at_once(echo: str, anchor: Bus) -> None:
    calls = [call(anchor, "echo", echo, {"delay_ms": 700}) for _ in range(64 + 64 + 5)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert [(refusal.code, refusal.reason) for refusal in refused] == [(429, "busy")] * 5
    waits = [int(outcome[1][HEADER_QUEUE_NS]) for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert sum(wait > 300_000_000 for wait in waits) == 64


async def test_a_function_that_needs_icmp_gets_its_sockets_handed_down(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    assert node is not None
    await deploy(gateway, wheel_of(FUNCTIONS / "latency-ping"))
    ready = await announced.next("ready", "latency-ping")
    reply, _ = await call(anchor, "latency-ping", ready.instance, {"target": "127.0.0.1", "count": 3})
    result = await stored_result(gateway, reply.job)
    assert result.failure is None
    assert result.address == "127.0.0.1"
