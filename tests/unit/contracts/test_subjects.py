from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import subjects
from contracts.errors import InvalidField

BAD = ["", ".", "*", ">", "a.b", "a b", "a>", "\r\n", "ü", "x" * 129, "a\x00"]


BUILDERS: dict[str, Callable[[str], str]] = {
    "job_event": subjects.job_event,
    "result": subjects.result,
    "call_any": subjects.call_any,
    "health": subjects.health,
    "spent": subjects.spent,
    "announce": subjects.announce,
    "logs": subjects.logs,
    "manage_inbox": subjects.manage_inbox,
    "worker_inbox": subjects.worker_inbox,
    "queue": lambda token: subjects.queue("live", token, "any"),
    "out by": lambda token: subjects.out("job", token),
    "out job": lambda token: subjects.out(token, "by"),
    "call": lambda token: subjects.call("echo", token),
    "progress": lambda token: subjects.progress(token, "n1_a"),
    "service": lambda token: subjects.service("INFO", "echo", token),
}


@pytest.mark.parametrize("token", BAD)
@pytest.mark.parametrize("builder", sorted(BUILDERS))
def test_no_token_can_widen_or_inject_a_subject(builder: str, token: str) -> None:
    with pytest.raises(InvalidField):
        BUILDERS[builder](token)


@given(st.text())
def test_a_token_is_returned_as_it_is_or_refused(text: str) -> None:
    try:
        assert subjects.token(text) == text
    except InvalidField:
        return
    assert not set(text) & set(".*> \t\r\n")


def test_queue_subjects_are_read_back() -> None:
    assert subjects.queue_parts(subjects.queue("live", "latency-ping", "n1")) == ("live", "latency-ping", "n1")
    with pytest.raises(ValueError, match="not a queue subject"):
        subjects.queue_parts("mmn.jobs.submit")


def test_the_republished_result_is_named_by_its_job() -> None:
    assert subjects.out("j1", "n1_a") == "mmn.out.j1.n1_a"
    assert subjects.result("j1") == "mmn.jobs.result.j1"
    assert "wildcard(1)" in subjects.RESULTS_REPUBLISH
