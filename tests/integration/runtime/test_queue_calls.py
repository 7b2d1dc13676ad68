"""Calls to `mmn.fn.<function>`, as an administrator makes them by hand: the worker admits them like any other."""

import asyncio
import json
from collections import Counter
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg

from contracts import codec, streams, subjects
from contracts.access import roles
from contracts.bus import Bus
from contracts.errors import InvalidField, Refused
from contracts.jobs import HEADER_RETRY_AFTER
from contracts.results import Result
from contracts.service import raise_refusal
from contracts.tail import stream_status
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.node import Announcements, Node, call, deploy, stored_result
from tests.kit.wheels import build_wheel

pytestmark = pytest.mark.usefixtures("node")

SLOTS = 3
CODE = """
import asyncio
from typing import Annotated
from runtime.sdk import Context, Meta, Params, Report

running = most = 0

class P(Params, frozen=True):
    text: str = ""
    for_s: Annotated[float, Meta(ge=0, le=5)] = 0.0

class R(Report, frozen=True):
    text: str
    most: int

async def measure(params: P, ctx: Context) -> R:
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(params.for_s)
    running -= 1
    return R(text=params.text, most=most)
"""
COUNTS = build_wheel(
    "counts", code=CODE, manifest=f'summary = "Counts what runs at once."\n[limits]\nconcurrency = {SLOTS}\n'
)


@pytest.fixture
async def admin(server: NatsServer) -> Bus:
    return await server.connect(roles.ADMIN, "admin")


@pytest.fixture
async def counts(gateway: Bus, node: Node, announced: Announcements) -> str:
    """The one instance of a function that says how many of its jobs ran at once."""
    assert node is not None
    await deploy(gateway, COUNTS)
    return (await announced.next("ready", "counts")).instance


async def ask(admin: Bus, params: Any = None, *, within: float = 10.0) -> Msg:
    """`nats req mmn.fn.counts '{"params": ...}'`."""
    body = json.dumps({"params": params if params is not None else {}}).encode()
    return await admin.nc.request(subjects.call_any("counts"), body, timeout=within)


async def measured(admin: Bus, params: Any = None) -> Result:
    msg = await ask(admin, params)
    raise_refusal(msg.headers)
    return codec.decode(msg.data, Result)


async def test_an_administrator_gets_the_result_which_is_stored_once_under_the_workers_name(
    counts: str, admin: Bus, gateway: Bus
) -> None:
    result = await measured(admin, {"text": "by hand"})
    assert (result.function, result.by, result.node, result.failure) == ("counts", counts, "n1", None)
    assert result.data == {"text": "by hand", "most": 1}
    assert await stored_result(gateway, result.job) == result
    kept = await gateway.js.get_last_msg(streams.RESULTS, subjects.out_any(result.job))
    assert kept.subject == subjects.out(result.job, counts)
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 1


async def test_an_empty_request_takes_every_default(counts: str, admin: Bus) -> None:
    msg = await admin.nc.request(subjects.call_any("counts"), b"", timeout=5)
    raise_refusal(msg.headers)
    assert codec.decode(msg.data, Result).by == counts


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"params":{"for_s":9}}', "params.for_s"),
        (b'{"params":{"text":1}}', "params.text"),
        (b'{"params":{"fro_s":1}}', "params"),
        (b'{"params":[]}', "params"),
        (b'{"job":"a.b"}', "job"),
        (b'{"job":"*"}', "job"),
        (b'{"time_left_ns":"soon"}', "time_left_ns"),
        (b'{"attempt":1.5}', "attempt"),
        (b"{", "message"),
        (b"\xff", "message"),
    ],
)
async def test_what_is_wrong_is_refused_by_field_and_nothing_is_stored(
    counts: str, admin: Bus, gateway: Bus, body: bytes, field: str
) -> None:
    msg = await admin.nc.request(subjects.call_any("counts"), body, timeout=5)
    with pytest.raises(InvalidField) as refused:
        raise_refusal(msg.headers)
    assert (refused.value.code, refused.value.field.partition(".fro_s")[0]) == (400, field)
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 0
    assert (await measured(admin)).by == counts


async def test_directed_calls_and_calls_to_anyone_share_the_slots(counts: str, admin: Bus, anchor: Bus) -> None:
    params = {"for_s": 0.5}
    directed = [call(anchor, "counts", counts, params) for _ in range(6)]
    by_hand = [measured(admin, params) for _ in range(6)]
    mixed = [one for pair in zip(directed, by_hand, strict=True) for one in pair]
    outcomes = await asyncio.gather(*mixed, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    # So many run, and as many wait.
    assert len(refused) == 12 - 2 * SLOTS
    assert {(refusal.code, refusal.reason) for refusal in refused} == {(429, "busy")}
    served = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(served) == 2 * SLOTS
    last = await measured(admin)
    assert last.data is not None
    assert last.data["most"] == SLOTS


async def test_a_full_worker_says_when_to_ask_again(counts: str, admin: Bus) -> None:
    asked = [asyncio.get_running_loop().create_task(ask(admin, {"for_s": 0.7})) for _ in range(2 * SLOTS + 2)]
    answers = await asyncio.gather(*asked)
    told = [answer.headers or {} for answer in answers if "Nats-Service-Error-Code" in (answer.headers or {})]
    assert [headers["Nats-Service-Error-Code"] for headers in told] == ["429", "429"]
    assert all(float(headers[HEADER_RETRY_AFTER]) > 0 for headers in told)
    assert (await measured(admin)).by == counts


async def test_the_load_spreads_over_the_workers(gateway: Bus, admin: Bus, announced: Announcements) -> None:
    await deploy(gateway, COUNTS, workers=3)
    await announced.next("ready", "counts", count=3)
    results = [await measured(admin) for _ in range(60)]
    served = Counter(result.by for result in results)
    assert set(served) == {one.instance for one in announced.of("ready", "counts")}
    # NATS draws: of 60, each third is below 5 in about one run of a million.
    assert min(served.values()) >= 5


async def test_an_operator_may_not_call_workers(counts: str, server: NatsServer) -> None:
    operator = await server.connect(roles.OPERATOR, "operator")
    for subject in (subjects.call_any("counts"), subjects.call("counts", counts)):
        operator.denied.clear()
        with pytest.raises(nats.errors.TimeoutError):
            await operator.nc.request(subject, b"{}", timeout=0.5)
        assert await eventually(lambda: operator.denied)
