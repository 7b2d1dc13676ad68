import sqlite3
from pathlib import Path

import cbor2
import msgspec
import pytest
from structlog.testing import capture_logs

from contracts import codec, streams, subjects
from contracts.errors import InvalidField
from contracts.failure import Code, failed
from contracts.jobs import EventKind, Job, JobEvent, JobReceipt, JobRequest
from contracts.results import Result
from gateway.projection import SCHEMA_VERSION, Projection, Wanted
from gateway.records import Record
from tests.unit.gateway.plane import record

REQUEST = JobRequest(function="echo", params={"a": 1})


def at(second: int) -> str:
    return f"2030-01-01T00:00:{second:02}.000000Z"


def event(
    sequence: int,
    kind: EventKind,
    *,
    job: str = "j1",
    instance: str | None = None,
    attempt: int = 0,
    reason: str = "",
    incarnation: str = "one",
) -> Record:
    accepted = Job(id=job, request=REQUEST, place="any", accepted=at(sequence), deadline=at(59), client="ann")
    value = JobEvent(
        job=job,
        event=kind,
        at=at(sequence),
        by="anchor1",
        function="echo",
        instance=instance,
        attempt=attempt,
        reason=reason,
        accepted=accepted if kind == "accepted" else None,
    )
    return record(sequence, subjects.job_event(job), value, incarnation=incarnation)


def result(sequence: int, *, job: str = "j1", code: Code | None = None, media: str = codec.JSON) -> Record:
    failure = failed(code) if code else None
    value = Result(
        job=job,
        function="echo",
        by="n1_a",
        node="n1",
        started=at(sequence),
        duration_ns=2_000_000_000,
        attempt=1,
        accepted=at(1),
        failure=failure,
    )
    return record(sequence, subjects.out(job, "n1_a"), value, media=media)


EVENTS = [
    event(1, "accepted"),
    event(2, "dispatched", instance="n1_a", attempt=1),
    event(3, "retried", instance="n1_a", attempt=1, reason="worker-lost"),
    event(4, "dispatched", instance="n1_b", attempt=2),
    event(5, "finished", instance="n1_b", attempt=2),
]


def of(*records: Record) -> Projection:
    projection = Projection(None)
    for one in records:
        stream = streams.EVENTS if one.subject.startswith("mmn.jobs.event") else streams.RESULTS
        projection.apply(stream, [one])
    return projection


def state_of(projection: Projection, job: str = "j1") -> str:
    found = projection.detail(job)
    assert found is not None
    return found.job.state


def test_a_job_s_state_follows_its_events() -> None:
    states = [state_of(of(*EVENTS[:n])) for n in range(1, 6)]
    assert states == ["queued", "running", "queued", "running", "finished"]
    found = of(*EVENTS).detail("j1")
    assert found is not None
    row = found.job
    assert (row.place, row.client, row.instance, row.attempt, row.ended) == ("any", "ann", "n1_b", 2, at(5))
    assert found.request == REQUEST
    assert [one.event for one in found.events] == ["accepted", "dispatched", "retried", "dispatched", "finished"]


def test_records_that_come_twice_change_nothing() -> None:
    once, twice = of(*EVENTS, result(1)), of(*EVENTS, result(1), *EVENTS, result(1))
    assert once.detail("j1") == twice.detail("j1")
    assert once.jobs(Wanted()) == twice.jobs(Wanted())
    assert len(twice.results(Wanted()).results) == 1


def test_a_result_before_its_events_stays_the_end() -> None:
    found = of(result(1, code=Code.TIMEOUT), *EVENTS[:4]).detail("j1")
    assert found is not None
    assert (found.job.state, found.job.failure, found.job.node) == ("finished", "timeout", "n1")
    assert (found.job.place, found.job.accepted) == ("any", at(1))
    assert found.result is not None


@pytest.mark.parametrize("code", [Code.EXPIRED, Code.CANCELLED])
def test_a_job_that_nobody_ran_says_why(code: Code) -> None:
    assert state_of(of(EVENTS[0], result(1, code=code))) == code.value


def test_only_what_ends_is_told_as_ended() -> None:
    projection = Projection(None)
    assert projection.apply(streams.EVENTS, EVENTS) == []
    assert projection.apply(streams.RESULTS, [result(1), result(2, job="j2")]) == ["j1", "j2"]


def test_other_media_types_are_read() -> None:
    found = of(result(1, media=codec.MSGPACK)).result("j1")
    assert found is not None
    assert found.by == "n1_a"


def test_an_unreadable_record_is_stepped_over() -> None:
    projection = of(Record("one", 1, "mmn.jobs.event.j1", b"\xff not json", codec.JSON), event(2, "accepted"))
    assert projection.cursor(streams.EVENTS) == ("one", 2)
    assert state_of(projection) == "queued"


def test_a_receipt_makes_the_job_known_before_its_event() -> None:
    projection = Projection(None)
    receipt = JobReceipt(job="j1", function="echo", place="any", accepted=at(1), deadline=at(59), queue_depth=1)
    projection.accepted(receipt, REQUEST, "ann")
    assert state_of(projection) == "queued"
    projection.apply(streams.EVENTS, EVENTS)
    projection.accepted(receipt, REQUEST, "ann")
    assert state_of(projection) == "finished"


def test_a_stream_that_was_made_anew_replaces_what_the_old_one_told() -> None:
    projection = of(*EVENTS, event(6, "accepted", job="old"), result(1))
    projection.apply(streams.EVENTS, [event(1, "accepted", job="new", incarnation="two")])
    assert projection.cursor(streams.EVENTS) == ("two", 1)
    assert projection.detail("old") is None
    assert [row.id for row in projection.jobs(Wanted()).jobs] == ["new", "j1"]
    found = projection.detail("j1")
    assert found is not None
    assert found.events == []


def test_the_cursor_outlives_a_restart_and_another_shape_does_not(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    projection = Projection(path)
    projection.apply(streams.EVENTS, EVENTS)
    projection.close()
    again = Projection(path)
    assert again.cursor(streams.EVENTS) == ("one", 5)
    assert state_of(again) == "finished"
    again._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    again.close()
    anew = Projection(path)
    assert anew.cursor(streams.EVENTS) is None
    assert anew.jobs(Wanted()).jobs == []
    anew.close()


def test_what_the_streams_dropped_is_dropped() -> None:
    projection = of(*EVENTS, event(6, "accepted", job="j2"), result(1), result(2, job="j2"))
    projection.prune(streams.EVENTS, 6)
    assert {row.id for row in projection.jobs(Wanted()).jobs} == {"j1", "j2"}
    projection.prune(streams.RESULTS, 2)
    assert {row.id for row in projection.jobs(Wanted()).jobs} == {"j2"}
    assert [found.job for found in projection.results(Wanted()).results] == ["j2"]


def test_jobs_are_listed_newest_first_and_page_by_page() -> None:
    projection = of(*(event(n, "accepted", job=f"j{n:02}") for n in range(1, 8)))
    seen: list[str] = []
    after: str | None = None
    while True:
        page = projection.jobs(Wanted(limit=3, after=after))
        seen += [row.id for row in page.jobs]
        after = page.after
        if after is None:
            break
    assert seen == [f"j{n:02}" for n in range(7, 0, -1)]


def test_lists_are_filtered() -> None:
    projection = of(*EVENTS, event(6, "accepted", job="j2"), result(1, code=Code.TIMEOUT), result(2, job="j3"))
    assert [row.id for row in projection.jobs(Wanted(state="queued")).jobs] == ["j2"]
    assert [row.id for row in projection.jobs(Wanted(since=at(6))).jobs] == ["j2"]
    assert projection.jobs(Wanted(function="other")).jobs == []
    assert {row.id for row in projection.jobs(Wanted(node="n1")).jobs} == {"j1", "j3"}
    assert [one.job for one in projection.results(Wanted(failure="timeout")).results] == ["j1"]
    first = projection.results(Wanted(limit=1))
    assert [one.job for one in first.results] == ["j3"]
    assert [one.job for one in projection.results(Wanted(after=first.after)).results] == ["j1"]


@pytest.mark.parametrize("after", ["x", "9" * 30, "-1"])
def test_a_made_up_page_is_refused(after: str) -> None:
    for look in (Projection(None).jobs, Projection(None).results):
        with pytest.raises(InvalidField):
            look(Wanted(after=after))


def raw(sequence: int, job: str, **fields: object) -> Record:
    value: dict[str, object] = {"job": job, "function": "echo", "by": "n1_a", "node": "n1", "started": at(1)}
    value |= {"duration_ns": 1, **fields}
    return Record("one", sequence, subjects.out(job, "n1_a"), cbor2.dumps(value), codec.CBOR)


@pytest.mark.parametrize(
    "wrong", [{"attempt": 2**63}, {"data": {"a": cbor2.CBORTag(35, "a+")}}, {"data": {"a": {(): 1}}}], ids=range(3)
)
def test_a_result_that_cannot_be_kept_stops_nobody(wrong: dict[str, object]) -> None:
    projection = Projection(None)
    with capture_logs() as lines:
        ended = projection.apply(streams.RESULTS, [raw(1, "j1", **wrong), result(2, job="j2")])
    assert ended == ["j2"]
    assert projection.cursor(streams.RESULTS) == ("one", 2)
    # Nothing is left of it, not even half.
    assert [row.id for row in projection.jobs(Wanted()).jobs] == ["j2"]
    assert [one.job for one in projection.results(Wanted()).results] == ["j2"]
    assert [(line["event"], line["sequence"]) for line in lines] == [("record left out", 1)]


def test_an_endless_duration_is_no_reason_to_lose_a_result() -> None:
    # Only JSON can say it.
    value = cbor2.loads(raw(1, "j1").data) | {"duration_ns": 10**27}
    projection = of(raw(1, "j1")._replace(data=msgspec.json.encode(value), media=codec.JSON))
    found = projection.detail("j1")
    assert found is not None
    assert (found.job.state, found.job.ended) == ("finished", at(1))


def test_an_event_that_cannot_be_kept_stops_nobody() -> None:
    projection = Projection(None)
    projection.apply(streams.EVENTS, [event(1, "dispatched", attempt=2**63), event(2, "accepted", job="j2")])
    assert projection.cursor(streams.EVENTS) == ("one", 2)
    assert [row.id for row in projection.jobs(Wanted()).jobs] == ["j2"]


def test_a_full_disk_is_not_blamed_on_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    projection = Projection(None)

    def full(_: Record) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(projection, "_event", full)
    with pytest.raises(sqlite3.OperationalError):
        projection.apply(streams.EVENTS, EVENTS)
    assert projection.cursor(streams.EVENTS) is None


@pytest.mark.parametrize("forged", [{"by": "n1_b"}, {"node": "n2"}, {"node": None}, {"job": "j2"}], ids=range(4))
def test_nobody_stores_results_in_the_name_of_another(forged: dict[str, object]) -> None:
    told = raw(1, "j1")
    value = cbor2.loads(told.data) | forged
    projection = Projection(None)
    assert projection.apply(streams.RESULTS, [told._replace(data=cbor2.dumps(value))]) == []
    assert projection.cursor(streams.RESULTS) == ("one", 1)
    assert projection.jobs(Wanted()).jobs == []
    assert projection.result("j1") is None


def test_an_anchor_closes_jobs_without_a_node() -> None:
    value = Result(job="j1", function="echo", by="anchor1", started=at(1), duration_ns=None)
    assert state_of(of(record(1, subjects.out("j1", "anchor1"), value))) == "finished"


def test_the_first_result_of_a_job_is_its_result() -> None:
    projection = of(result(1))
    other = Result(job="j1", function="echo", by="n2_x", node="n2", started=at(9), duration_ns=1, attempt=7)
    assert projection.apply(streams.RESULTS, [record(2, subjects.out("j1", "n2_x"), other)]) == []
    found = projection.detail("j1")
    assert found is not None
    assert (found.job.instance, found.job.node, found.job.attempt) == ("n1_a", "n1", 1)
