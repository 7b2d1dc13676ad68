import pytest

from anchor.calls import NotListening, ReplyLost, WorkerLost
from anchor.outcomes import MAX_ATTEMPTS, Close, Reroute, Retry, after, is_fault, on_trial, once, unaffordable
from contracts.errors import MmnError, Refused
from contracts.failure import Code


def test_pressure_costs_no_attempt() -> None:
    decision = after(Refused(429, "busy", "full", retry_after=0.2), attempt=MAX_ATTEMPTS, other_nodes=False)
    assert decision == Reroute("busy", press_s=0.2, full=True)


def test_a_worker_that_never_saw_the_call_costs_no_attempt() -> None:
    decision = after(NotListening("x"), attempt=MAX_ATTEMPTS, other_nodes=False)
    assert isinstance(decision, Reroute)
    assert decision.gone


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkerLost("killed"), Code.WORKER_LOST),
        (Refused(500, "worker-fault", "boom"), Code.WORKER_FAULT),
        (Refused(504, "worker-timeout", "slow"), Code.WORKER_FAULT),
    ],
    ids=["lost", "fault", "timeout"],
)
def test_a_fault_is_retried_twice_and_then_becomes_the_result(error: MmnError, code: Code) -> None:
    for attempt in range(1, MAX_ATTEMPTS):
        assert isinstance(after(error, attempt=attempt, other_nodes=True), Retry)
    last = after(error, attempt=MAX_ATTEMPTS, other_nodes=True)
    assert isinstance(last, Close)
    assert last.failure.code is code
    assert f"attempt {MAX_ATTEMPTS}" in last.failure.detail


def test_a_node_that_cannot_measure_hands_over_only_to_another_node() -> None:
    error = Refused(424, "no-privilege", "open it with: sysctl ...")
    assert isinstance(after(error, attempt=1, other_nodes=True), Retry)
    last = after(error, attempt=1, other_nodes=False)
    assert isinstance(last, Close)
    assert last.failure.code is Code.NO_PRIVILEGE
    assert "sysctl" in last.failure.detail


def test_parameters_that_the_worker_refuses_are_the_requests_fault() -> None:
    last = after(Refused(400, "bad-params", "params.count: too many"), attempt=1, other_nodes=True)
    assert isinstance(last, Close)
    assert last.failure.blame == "request"


def test_a_lost_answer_is_asked_for_again_where_the_job_may_still_run() -> None:
    decision = after(ReplyLost("x"), attempt=MAX_ATTEMPTS, other_nodes=True)
    assert isinstance(decision, Reroute)
    assert decision.same


def test_a_retry_that_cannot_be_afforded_ends_the_job_with_its_cause() -> None:
    decision = after(Refused(500, "worker-fault", "boom"), attempt=1, other_nodes=True)
    assert isinstance(decision, Retry)
    assert not decision.lost
    failure = unaffordable(decision).failure
    assert failure.code is Code.WORKER_FAULT
    assert "boom" in failure.detail
    assert "too many jobs failed" in failure.detail


def test_the_loss_of_a_worker_is_told_apart_from_a_fault() -> None:
    decision = after(WorkerLost("killed"), attempt=1, other_nodes=False)
    assert isinstance(decision, Retry)
    assert decision.lost


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (WorkerLost("x"), True),
        (NotListening("x"), False),
        (ReplyLost("x"), False),
        (MmnError("an answer that is none"), True),
        (Refused(500, "worker-fault", "x"), True),
        (Refused(504, "worker-timeout", "x"), True),
        (Refused(403, "not-through-export", "x"), True),
        (Refused(429, "busy", "x"), False),
        (Refused(503, "draining", "x"), False),
        (Refused(424, "no-privilege", "x"), False),
        (Refused(408, "expired", "x"), False),
        (Refused(400, "bad-params", "x"), False),
    ],
    ids=lambda value: getattr(value, "reason", None) or repr(value),
)
def test_only_what_speaks_against_the_worker_feeds_its_breaker(error: MmnError, fault: bool) -> None:
    assert is_fault(error) is fault


@pytest.mark.parametrize("after_s", [float("inf"), float("nan"), -1.0, 1e9], ids=str)
def test_a_worker_cannot_ask_to_be_left_alone_for_ever(after_s: float) -> None:
    decision = after(Refused(429, "busy", "full", retry_after=after_s), attempt=1, other_nodes=True)
    assert isinstance(decision, Reroute)
    assert 0 <= decision.press_s <= 10


@pytest.mark.parametrize("code", [400, 408, 413, 415, 424, 500, 504])
def test_a_version_on_trial_ends_no_job_and_a_twin_is_tried_once(code: int) -> None:
    decision = after(Refused(code, "x", "it says"), attempt=MAX_ATTEMPTS, other_nodes=False)
    on_other = on_trial(decision)
    assert isinstance(on_other, Retry)
    assert on_other.free
    assert isinstance(once(on_other), Close)
    busy = after(Refused(429, "busy", "full"), attempt=1, other_nodes=False)
    assert once(on_trial(busy)) == busy
