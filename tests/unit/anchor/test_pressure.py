import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.pressure import TRUSTED_RUNS, Capacity, Queues, Shedding, ahead, check
from contracts.errors import Refused
from contracts.jobs import Job, JobRequest

MS = 1_000_000
S = 1000 * MS
SHEDDING = Shedding(wait_s=10, lag_s=0.5)
READY = Capacity(width=10, free=0, run_ns=1 * S, runs=TRUSTED_RUNS)
QUIET = Queues(live=0, batch=0, bound=1000)


def job(job_class: str = "live", *, deadline_s: float = 120) -> Job:
    request = msgspec.convert({"function": "ping", "class": job_class, "deadline_s": deadline_s}, JobRequest)
    return Job(id="j", request=request, place="n1", accepted="", deadline="")


def refusal(
    asked: Job,
    queues: Queues = QUIET,
    capacity: Capacity = READY,
    *,
    lag_ns: int = 0,
    shedding: Shedding = SHEDDING,
) -> Refused | None:
    wait_ns = capacity.wait_ns(ahead(asked.request.job_class, queues, batch_every=10))
    try:
        check(asked, queues, capacity, wait_ns=wait_ns, lag_ns=lag_ns, shedding=shedding)
    except Refused as refused:
        return refused
    return None


def test_a_quiet_place_takes_both_classes() -> None:
    assert refusal(job()) is None
    assert refusal(job("batch")) is None


@pytest.mark.parametrize(
    ("queues", "lag_ns"),
    [
        (Queues(live=501, batch=0, bound=1000), 0),
        (Queues(live=101, batch=0, bound=1000), 0),
        (QUIET, 600 * MS),
    ],
    ids=["half of the bound", "a long wait", "a late loop"],
)
def test_batch_is_shed_while_live_is_taken(queues: Queues, lag_ns: int) -> None:
    refused = refusal(job("batch"), queues, lag_ns=lag_ns)
    assert refused is not None
    assert (refused.code, refused.reason) == (429, "shed")
    assert refused.retry_after is not None
    assert 1 <= refused.retry_after <= 60
    assert refusal(job(), queues, lag_ns=lag_ns) is None


def test_a_full_place_without_a_live_queue_takes_batch() -> None:
    slow = Capacity(width=1, free=0, run_ns=30 * S, runs=TRUSTED_RUNS)
    assert refusal(job("batch"), Queues(live=0, batch=2, bound=1000), slow) is None


def test_zero_switches_shedding_off() -> None:
    never = Shedding(wait_s=0, lag_s=0)
    crowded = Queues(live=400, batch=0, bound=1000)
    assert refusal(job("batch"), crowded, lag_ns=60 * S) is not None
    assert refusal(job("batch"), crowded, lag_ns=60 * S, shedding=never) is None


@pytest.mark.parametrize("job_class", ["live", "batch"])
def test_a_job_that_would_wait_past_its_own_deadline_is_refused(job_class: str) -> None:
    queues = Queues(live=60, batch=60, bound=1000)
    refused = refusal(job(job_class, deadline_s=5), queues)
    assert refused is not None
    assert refused.reason == "too-late"
    assert "deadline is 5 s" in refused.message
    assert refusal(job(job_class, deadline_s=15), queues) is None


def test_an_estimate_from_few_jobs_refuses_nobody() -> None:
    queues = Queues(live=60, batch=0, bound=1000)
    young = Capacity(width=10, free=0, run_ns=1 * S, runs=TRUSTED_RUNS - 1)
    assert refusal(job(deadline_s=5), queues, young) is None
    assert refusal(job(deadline_s=5), queues, Capacity(width=0, free=0, run_ns=1 * S, runs=100)) is None


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 20), st.integers(1, 20))
def test_the_wait_grows_with_what_is_ahead_and_shrinks_with_the_width(
    live: int, batch: int, free: int, width: int
) -> None:
    queues = Queues(live=live, batch=batch, bound=1000)
    longer = Queues(live=live + 1, batch=batch + 1, bound=1000)
    capacity = Capacity(width=width, free=min(free, width), run_ns=1 * S)
    wider = Capacity(width=width + 1, free=min(free, width), run_ns=1 * S)
    for job_class in ("live", "batch"):
        before = ahead(job_class, queues, batch_every=10)
        wait = capacity.wait_ns(before)
        assert wait is not None
        assert wait <= (capacity.wait_ns(ahead(job_class, longer, batch_every=10)) or 0)
        assert wait >= (wider.wait_ns(before) or 0)
    assert ahead("batch", queues, batch_every=10) <= (batch + 1) * 10 - 1


def test_a_free_slot_means_no_wait_and_an_unknown_duration_no_estimate() -> None:
    assert Capacity(width=4, free=1, run_ns=5.0 * S).wait_ns(0) == 0
    assert Capacity(width=4, free=0, run_ns=4.0 * S).wait_ns(3) == 4 * S
    assert Capacity(width=4, free=0, run_ns=None).wait_ns(3) is None


def test_a_full_queue_is_to_be_asked_again_after_a_while_that_its_rate_gives() -> None:
    assert READY.drain_s(100) == 10
    assert READY.drain_s(1) == 1
    assert READY.drain_s(100_000) == 60
    assert Capacity(width=0, free=0, run_ns=None).drain_s(100) == 1
