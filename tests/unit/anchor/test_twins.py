"""Jobs that are run on both versions, and what a pair says."""

from anchor.twins import paired, twin_of
from contracts.evidence import Pairs
from contracts.failure import Code, failed
from contracts.jobs import Job, JobRequest
from contracts.results import Result

NEW = "1" * 64
JOB = Job(
    id="0193a1b2-0000-7000-8000-00000000000a",
    request=JobRequest(function="ping", params={"target": "a"}, key="k", node="n1"),
    place="n1",
    accepted="2026-01-02T03:04:05Z",
    deadline="2026-01-02T03:04:35Z",
    client="anna",
)


def result(code: Code | None = None) -> Result:
    failure = failed(code, "x") if code is not None else None
    return Result(job=JOB.id, function="ping", by="n1_a", started="", duration_ns=1000, failure=failure)


def test_a_twin_asks_for_the_same_behind_everybody_else_and_for_one_version() -> None:
    twin = twin_of(JOB, NEW)
    assert (twin.digest, twin.pair, twin.client) == (NEW, JOB.id, "rollout:ping")
    assert (twin.request.params, twin.place, twin.deadline) == (JOB.request.params, "n1", JOB.deadline)
    assert (twin.request.job_class, twin.request.key) == ("batch", None)


def test_a_job_has_one_twin_on_a_version_whoever_makes_it() -> None:
    assert twin_of(JOB, NEW).id == twin_of(JOB, NEW).id != JOB.id
    assert twin_of(JOB, "2" * 64).id != twin_of(JOB, NEW).id


def test_a_pair_tells_what_only_one_version_failed_to_measure() -> None:
    def outcome(pair: Pairs) -> tuple[int, int, int]:
        return (pair.alike, pair.only_old_failed, pair.only_new_failed)

    assert outcome(paired(result(), None, 5)) == (1, 0, 0)
    assert outcome(paired(result(Code.TIMEOUT), "timeout", 5)) == (1, 0, 0)
    assert outcome(paired(result(Code.TIMEOUT), None, 5)) == (0, 1, 0)
    assert outcome(paired(result(), "timeout", 5)) == (0, 0, 1)
    # Both failed, each in its own way: unlike, but no reason to prefer one.
    assert outcome(paired(result(Code.REFUSED), "timeout", 5)) == (0, 0, 0)
    both = paired(result(Code.REFUSED), "timeout", 5) + paired(result(), "timeout", 5)
    assert (both.seen, both.old_codes, both.new_codes) == (2, {"refused": 1}, {"timeout": 2})
