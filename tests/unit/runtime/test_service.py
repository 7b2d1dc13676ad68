"""A worker's side of a call, without a server."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import nats.errors
import pytest

from contracts import codec, subjects
from contracts.bus import Bus
from contracts.clock import monotonic_ns
from contracts.errors import Refused
from contracts.functions import Limits, Manifest
from contracts.jobs import Call, CallReply, Cancelled, StopReply
from contracts.results import Result
from contracts.service import Ask
from runtime import service
from runtime.channel import Assignment
from runtime.lag import LagHistory
from runtime.sdk import Context, Params, Report
from runtime.sdk.function import Function
from runtime.sdk.icmp import IcmpSockets
from runtime.service import Measuring
from tests.kit.eventually import eventually

SECOND = 1_000_000_000
WHO = Assignment(
    function="ping",
    version="1.0.0",
    digest="0" * 64,
    instance="n1_a",
    node="n1",
    labels={"site": "lab"},
    manifest=Manifest(summary="x", limits=Limits(timeout=1.0)),
    code="",
    entry="",
    scratch="",
    box="B4",
    egress="advisory",
    gaps=[],
    nats_url="",
)


class NapParams(Params, frozen=True):
    seconds: float = 0.0


class NapReport(Report, frozen=True):
    deadline_ns: int
    seed: int


async def measure(params: NapParams, ctx: Context) -> NapReport:
    await asyncio.sleep(params.seconds)
    return NapReport(deadline_ns=ctx.deadline_ns, seed=ctx.seed)


class Stream:
    """RESULTS in memory, which answers as it was told to."""

    def __init__(self, *answers: Exception | bytes) -> None:
        self.answers = list(answers)
        self.stored: list[tuple[str, bytes, dict[str, str]]] = []

    async def request(self, subject: str, data: bytes, *, within: float, headers: dict[str, str]) -> Any:
        assert within > 0
        self.stored.append((subject, data, headers))
        answer = self.answers.pop(0) if self.answers else b'{"stream":"RESULTS","seq":7}'
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(data=answer)


def measuring(*answers: Exception | bytes) -> tuple[Measuring, Stream]:
    stream = Stream(*answers)
    bus = cast("Bus", stream)
    made = Measuring(bus, Function.load(measure), WHO, sockets=IcmpSockets.none(), lag=LagHistory())
    return made, stream


def ask(call: Call | None = None, *, reply: str = "_R_.a.b", arrived_ns: int | None = None, data: bytes = b"") -> Ask:
    body = data if call is None else codec.encode(call, codec.JSON)
    fields = {"data": body, "headers": {}, "reply": reply, "subject": "x", "media": lambda: codec.JSON}
    made = SimpleNamespace(**fields, arrived_ns=monotonic_ns() if arrived_ns is None else arrived_ns)
    made.decode = lambda kind: codec.decode(body, kind)
    return cast("Ask", made)


async def cancel(worker: Measuring, name: str = "j1", *, reply: str = "_R_.a.b") -> StopReply:
    body, _ = await worker.cancel(ask(data=codec.encode(Cancelled(job=name), codec.JSON), reply=reply))
    return codec.decode(body, StopReply)


def job(**fields: Any) -> Call:
    return Call(**{"job": "j1", "params": {}, "time_left_ns": 5 * SECOND, **fields})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STORE_AT_LEAST_S", 0.3)


async def test_a_result_is_stored_on_the_condition_that_none_is_there() -> None:
    worker, stream = measuring()
    body, headers = await worker.call(ask(job(seed=3, attempt=2, accepted="2026-01-01T00:00:00Z")))
    assert codec.decode(body, CallReply) == CallReply(job="j1", instance="n1_a", sequence=7)
    assert headers.keys() >= {"Mmn-Queue-Ns", "Mmn-Run-Ns"}
    ((subject, data, conditions),) = stream.stored
    assert subject == subjects.out("j1", "n1_a")
    assert conditions["Nats-Expected-Last-Subject-Sequence"] == "0"
    assert conditions["Nats-Expected-Last-Subject-Sequence-Subject"] == subjects.out_any("j1")
    result = codec.decode(data, Result)
    assert (result.attempt, result.accepted, result.labels) == (2, "2026-01-01T00:00:00Z", {"site": "lab"})
    assert result.params == {"seconds": 0.0}
    assert result.data is not None
    assert result.data["seed"] == 3


async def test_stored_before_counts_as_success() -> None:
    worker, _ = measuring(b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"}}')
    body, _ = await worker.call(ask(job()))
    assert codec.decode(body, CallReply).sequence is None


async def test_an_unanswered_store_is_tried_again() -> None:
    worker, stream = measuring(nats.errors.TimeoutError(), b'{"stream":"RESULTS","seq":9}')
    body, _ = await worker.call(ask(job()))
    assert codec.decode(body, CallReply).sequence == 9
    assert len(stream.stored) == 2


async def test_a_result_that_cannot_be_stored_is_no_success() -> None:
    worker, _ = measuring(*[nats.errors.TimeoutError()] * 20)
    with pytest.raises(Refused) as refused:
        await worker.call(ask(job(time_left_ns=SECOND // 100)))
    assert (refused.value.code, refused.value.reason) == (503, "not-stored")


async def test_a_call_that_did_not_come_through_the_export_is_refused() -> None:
    worker, stream = measuring()
    for handler in (worker.call, worker.call_any):
        with pytest.raises(Refused) as refused:
            await handler(ask(job(), reply="_INBOX_n1_b.x"))
        assert refused.value.code == 403
    assert not stream.stored


async def test_the_wait_in_the_queue_is_told_and_counts_against_the_job() -> None:
    worker, _ = measuring()
    _, headers = await worker.call(ask(job(), arrived_ns=monotonic_ns() - 2 * SECOND))
    assert int(headers["Mmn-Queue-Ns"]) >= 2 * SECOND
    with pytest.raises(Refused) as late:
        await worker.call(ask(job(), arrived_ns=monotonic_ns() - 6 * SECOND))
    assert (late.value.code, late.value.reason) == (408, "expired")


async def test_the_deadline_is_the_nearer_of_the_job_and_the_manifest() -> None:
    worker, stream = measuring()
    for left, expected in ((SECOND // 2, SECOND // 2), (60 * SECOND, SECOND)):
        now = monotonic_ns()
        await worker.call(ask(job(time_left_ns=left)))
        data = codec.decode(stream.stored[-1][1], Result).data
        assert data is not None
        assert abs(data["deadline_ns"] - now - expected) < 0.2 * SECOND


async def test_a_job_id_that_is_no_token_is_refused() -> None:
    worker, stream = measuring()
    with pytest.raises(Refused, match="job"):
        await worker.call(ask(job(job="a.b")))
    assert not stream.stored


async def test_a_joined_job_fails_for_both_callers() -> None:
    worker, _ = measuring()
    outcomes = await asyncio.gather(
        *(worker.call(ask(job(params={"seconds": 5}))) for _ in range(2)), return_exceptions=True
    )
    assert [getattr(outcome, "code", None) for outcome in outcomes] == [504, 504]
    assert worker.faults == 1


async def test_a_request_by_hand_may_be_empty() -> None:
    worker, _ = measuring()
    body, _ = await worker.call_any(ask())
    assert codec.decode(body, Result).function == "ping"


async def test_a_cancelled_job_ends_at_once_for_all_its_callers_and_is_no_fault() -> None:
    worker, stream = measuring()
    calls = [
        asyncio.ensure_future(worker.call(ask(job(params={"seconds": 30}, time_left_ns=60 * SECOND)))) for _ in "ab"
    ]
    await asyncio.sleep(0)
    assert await cancel(worker) == StopReply(job="j1", instance="n1_a", found=True)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [(getattr(one, "code", None), getattr(one, "reason", None)) for one in outcomes] == [(410, "cancelled")] * 2
    assert (worker.faults, worker.unfit.done(), stream.stored) == (0, False, [])


async def test_a_job_cancelled_before_it_got_a_slot_is_not_run() -> None:
    worker, stream = measuring()
    assert (await cancel(worker)).found is False
    with pytest.raises(Refused) as refused:
        await worker.call(ask(job()))
    assert refused.value.code == 410
    await worker.call(ask(job(job="j2")))
    assert len(stream.stored) == 1


async def test_a_job_that_is_done_when_it_is_cancelled_goes_on_to_be_stored() -> None:
    second = b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"}}'
    worker, stream = measuring(nats.errors.TimeoutError(), second)
    call = asyncio.ensure_future(worker.call(ask(job())))
    await eventually(lambda: stream.stored)
    assert (await cancel(worker)).found
    body, _ = await call
    assert codec.decode(body, CallReply).sequence is None


async def test_a_cancellation_has_to_come_through_the_export() -> None:
    worker, _ = measuring()
    with pytest.raises(Refused) as refused:
        await cancel(worker, reply="_INBOX_n1_b.x")
    assert refused.value.code == 403
