import pytest

from anchor.calls import NotListening, ReplyLost, WorkerLost
from anchor.outcomes import MAX_ATTEMPTS, Close, Reroute, Retry, after
from contracts.errors import MmnError, Refused
from contracts.failure import Code


def test_pressure_costs_no_attempt() -> None:
    decision = after(Refused(429, "busy", "full", retry_after=0.2), attempt=MAX_ATTEMPTS, other_nodes=False)
    assert decision == Reroute("busy", press_s=0.2)


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
