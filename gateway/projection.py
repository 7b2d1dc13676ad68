"""The tables of the index: what events and results say of jobs, and how to look them up.

Synchronous SQLite without any network. Every record may be applied twice, and the streams in
any order between them; within a job the stream's sequence decides what came last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
from msgspec import Struct

from contracts import clock, codec, streams
from contracts.errors import InvalidField
from contracts.failure import Code
from contracts.jobs import JobEvent, JobReceipt, JobRequest
from contracts.modules import node_of
from contracts.results import Result
from gateway import ledger
from gateway.records import Record

log = structlog.get_logger(__name__)

JobState = Literal["queued", "running", "finished", "expired", "cancelled"]

SCHEMA_VERSION = 2
MAX_RECORD_BYTES = 2 * 1024 * 1024
MAX_PAGE_BYTES = 8 * 1024 * 1024

_TABLES = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, function TEXT NOT NULL, state TEXT NOT NULL, place TEXT, class TEXT, client TEXT,
    accepted TEXT, deadline TEXT, instance TEXT, node TEXT, attempt INTEGER NOT NULL DEFAULT 0,
    ended TEXT, failure TEXT, reason TEXT NOT NULL DEFAULT '', request BLOB, event INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX jobs_by_time ON jobs (accepted DESC, id DESC);
CREATE TABLE events (sequence INTEGER PRIMARY KEY, job TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX events_by_job ON events (job, sequence);
CREATE TABLE results (
    sequence INTEGER PRIMARY KEY, job TEXT NOT NULL UNIQUE, function TEXT NOT NULL, node TEXT, failure TEXT,
    target TEXT, started TEXT, body BLOB NOT NULL
);
CREATE TABLE cursors (stream TEXT PRIMARY KEY, incarnation TEXT NOT NULL, sequence INTEGER NOT NULL) WITHOUT ROWID;
"""


class JobRow(Struct, frozen=True, kw_only=True):
    """A job as far as the streams tell. `failure` is the result's code, None for a plain success.

    `ended` is when the end was noted; `reason` belongs to the newest event.
    """

    id: str
    function: str
    state: JobState
    place: str | None
    job_class: str | None = msgspec.field(name="class")
    client: str | None
    accepted: str | None
    deadline: str | None
    instance: str | None
    node: str | None
    attempt: int
    ended: str | None
    failure: str | None
    reason: str


class JobDetail(Struct, frozen=True, kw_only=True):
    """A job with what was asked, what happened to it, and its result once there is one."""

    job: JobRow
    request: JobRequest | None
    events: list[JobEvent]
    result: Result | None


class JobPage(Struct, frozen=True, kw_only=True):
    """Some jobs, newest first. `after` asks for the next ones; None at the end."""

    jobs: list[JobRow]
    after: str | None


class ResultPage(Struct, frozen=True, kw_only=True):
    """Some results, newest first. `after` asks for the next ones; None at the end."""

    results: list[Result]
    after: str | None


class Wanted(Struct, frozen=True, kw_only=True):
    """Which rows to list. `since` is RFC 3339, `after` comes from the page before."""

    function: str | None = None
    node: str | None = None
    state: JobState | None = None
    failure: str | None = None
    since: str | None = None
    after: str | None = None
    limit: int = 50


_JOB_COLUMNS = (
    "id, function, state, place, class, client, accepted, deadline, instance, node, attempt, ended, failure, reason"
)


class Projection:
    """The tables and what a record does to them. Synchronous: one thread owns it."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = sqlite3.connect(str(path) if path else ":memory:", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        # A lost last second is read from the streams again.
        self._db.execute("PRAGMA synchronous = NORMAL")
        if self._db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            self._create()

    def _create(self) -> None:
        drops = "".join(f"DROP TABLE IF EXISTS {table};" for table in ("jobs", "events", "results", "audit", "cursors"))
        self._db.executescript(f"BEGIN;{drops}{_TABLES}{ledger.TABLE}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")

    def close(self) -> None:
        self._db.close()

    def cursor(self, stream: str) -> tuple[str, int] | None:
        """Incarnation and last applied sequence of a stream."""
        row = self._db.execute("SELECT incarnation, sequence FROM cursors WHERE stream = ?", (stream,)).fetchone()
        return (row[0], row[1]) if row else None

    def restart(self, stream: str, incarnation: str) -> None:
        """Forget what a former incarnation of a stream told."""
        with self._db:
            self._db.execute("BEGIN")
            self._forget(stream, incarnation)

    def _forget(self, stream: str, incarnation: str) -> None:
        if stream == streams.EVENTS:
            # The results stay, so their jobs do; sequences of the new stream start low again.
            self._db.execute("DELETE FROM events")
            self._db.execute("DELETE FROM jobs WHERE id NOT IN (SELECT job FROM results)")
            self._db.execute("UPDATE jobs SET event = 0")
        else:
            self._db.execute("DELETE FROM results" if stream == streams.RESULTS else "DELETE FROM audit")
        self._db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, 0)", (stream, incarnation))

    def apply(self, stream: str, records: Sequence[Record]) -> list[str]:
        """Apply records in one transaction. Returns the jobs that have ended with them."""
        ended: list[str] = []
        self._db.execute("BEGIN")
        try:
            for record in records:
                known = self.cursor(stream)
                if known is None or known[0] != record.incarnation:
                    self._forget(stream, record.incarnation)
                job = self._one(stream, record)
                if job is not None:
                    ended.append(job)
                self._db.execute("UPDATE cursors SET sequence = ? WHERE stream = ?", (record.sequence, stream))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return ended

    def _one(self, stream: str, record: Record) -> str | None:
        """Apply one record, or nothing of it when it cannot be: whatever somebody stored, reading goes on."""
        self._db.execute("SAVEPOINT record")
        job = None
        try:
            if stream == streams.EVENTS:
                self._event(record)
            elif stream == streams.AUDIT:
                ledger.take(self._db, record)
            else:
                job = self._result(record)
        except sqlite3.OperationalError:
            # A full or locked disk is no fault of the record.
            raise
        except Exception as error:  # noqa: BLE001  # any record may be wrong in a way of its own
            self._db.execute("ROLLBACK TO record")
            # Not the message: it may quote what was stored.
            log.warning("record left out", stream=stream, sequence=record.sequence, reason=type(error).__name__)
        self._db.execute("RELEASE record")
        return job

    def accepted(self, receipt: JobReceipt, request: JobRequest, client: str) -> None:
        """Note a job that this gateway submitted, so that whoever asks at once finds it."""
        self._db.execute(
            "INSERT OR IGNORE INTO jobs (id, function, state, place, class, client, accepted, deadline, request)"
            " VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?)",
            (
                receipt.job,
                receipt.function,
                receipt.place,
                request.job_class,
                client,
                receipt.accepted,
                receipt.deadline,
                msgspec.json.encode(request),
            ),
        )

    def _event(self, record: Record) -> None:
        event = codec.decode(record.data, JobEvent, record.media, limit=MAX_RECORD_BYTES)
        values = (record.sequence, event.job, msgspec.json.encode(event))
        self._db.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", values)
        self._db.execute(
            "INSERT OR IGNORE INTO jobs (id, function, state, accepted) VALUES (?, ?, 'queued', ?)",
            (event.job, event.function, event.at),
        )
        if event.accepted is not None:
            job = event.accepted
            self._db.execute(
                "UPDATE jobs SET place = ?, class = ?, client = ?, accepted = ?, deadline = ?, request = ? WHERE id = ?",
                (
                    job.place,
                    job.request.job_class,
                    job.client,
                    job.accepted,
                    job.deadline,
                    msgspec.json.encode(job.request),
                    job.id,
                ),
            )
        over = event.event in {"finished", "expired", "cancelled"}
        state = event.event if over else "running" if event.event == "dispatched" else "queued"
        # An end is final, whatever else is still to be read; before it the newest event speaks.
        self._db.execute(
            "UPDATE jobs SET event = :sequence, reason = :reason, attempt = max(attempt, :attempt),"
            " instance = CASE WHEN :names THEN coalesce(:instance, instance) ELSE instance END,"
            " ended = CASE WHEN :over THEN coalesce(ended, :at) ELSE ended END,"
            " state = CASE WHEN state IN ('finished', 'expired', 'cancelled') THEN state ELSE :state END"
            " WHERE id = :job AND event < :sequence",
            {
                "sequence": record.sequence,
                "reason": event.reason,
                "attempt": event.attempt,
                "names": event.event in {"dispatched", "finished"},
                "instance": event.instance,
                "over": over,
                "at": event.at,
                "state": state,
                "job": event.job,
            },
        )

    def _result(self, record: Record) -> str | None:
        result = codec.decode(record.data, Result, record.media, limit=MAX_RECORD_BYTES)
        job, by = record.subject.split(".")[2:4]
        # The subject is bound to who stored it; an id with `_` is a worker's and names its node.
        if (result.job, result.by) != (job, by) or ("_" in by and result.node != node_of(by)):
            log.warning("result speaks for another", sequence=record.sequence, job=job, by=by)
            return None
        failure = result.failure.code.value if result.failure else None
        body = msgspec.json.encode(result)
        row = (record.sequence, job, result.function, result.node, failure, result.target, result.started, body)
        if not self._db.execute("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row).rowcount:
            # The first result of a job is its result.
            return None
        state = failure if failure in {Code.EXPIRED, Code.CANCELLED} else "finished"
        self._db.execute(
            "INSERT INTO jobs (id, function, state, accepted, instance, node, attempt, failure, ended)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
            " instance = excluded.instance, node = excluded.node, attempt = excluded.attempt,"
            " failure = excluded.failure, ended = coalesce(jobs.ended, excluded.ended)",
            (
                job,
                result.function,
                state,
                result.accepted or result.started,
                by,
                result.node,
                result.attempt,
                failure,
                _ended(result),
            ),
        )
        return job

    def prune(self, stream: str, first: int) -> None:
        """Drop what the streams themselves no longer keep."""
        with self._db:
            if stream == streams.EVENTS:
                self._db.execute("DELETE FROM events WHERE sequence < ?", (first,))
            elif stream == streams.AUDIT:
                ledger.prune(self._db, first)
                return
            else:
                self._db.execute("DELETE FROM results WHERE sequence < ?", (first,))
            self._db.execute(
                "DELETE FROM jobs WHERE (event > 0 OR ended IS NOT NULL)"
                " AND NOT EXISTS (SELECT 1 FROM events WHERE job = jobs.id)"
                " AND NOT EXISTS (SELECT 1 FROM results WHERE job = jobs.id)"
            )

    def detail(self, job: str) -> JobDetail | None:
        row = self._db.execute(f"SELECT {_JOB_COLUMNS}, request FROM jobs WHERE id = ?", (job,)).fetchone()  # noqa: S608  # constants
        if row is None:
            return None
        events = self._db.execute("SELECT body FROM events WHERE job = ? ORDER BY sequence", (job,)).fetchall()
        return JobDetail(
            job=_job(row),
            request=msgspec.json.decode(row["request"], type=JobRequest) if row["request"] else None,
            events=[msgspec.json.decode(event[0], type=JobEvent) for event in events],
            result=self.result(job),
        )

    def audit(self, wish: ledger.AuditWish) -> ledger.AuditPage:
        return ledger.page(self._db, wish)

    def result(self, job: str) -> Result | None:
        row = self._db.execute("SELECT body FROM results WHERE job = ?", (job,)).fetchone()
        return msgspec.json.decode(row[0], type=Result) if row else None

    def jobs(self, wanted: Wanted) -> JobPage:
        where, values = _filters(wanted, {"function": "function", "node": "node", "state": "state"}, "accepted")
        if wanted.after is not None:
            accepted, mark, job = wanted.after.partition("~")
            if not mark:
                raise InvalidField("after", "must be the value of the page before")
            where.append("(accepted, id) < (?, ?)")
            values += [accepted, job]
        rows = self._db.execute(
            # Only constants are put together here; what people send is bound.
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE {' AND '.join(where)}"  # noqa: S608  # constants
            " ORDER BY accepted DESC, id DESC LIMIT ?",
            [*values, wanted.limit + 1],
        ).fetchall()
        found = [_job(row) for row in rows[: wanted.limit]]
        more = len(rows) > wanted.limit
        return JobPage(jobs=found, after=f"{found[-1].accepted}~{found[-1].id}" if more else None)

    def results(self, wanted: Wanted) -> ResultPage:
        names = {"function": "function", "node": "node", "failure": "failure"}
        where, values = _filters(wanted, names, "started")
        if wanted.after is not None:
            if not wanted.after.isdecimal() or len(wanted.after) > 18:
                raise InvalidField("after", "must be the value of the page before")
            where.append("sequence < ?")
            values.append(int(wanted.after))
        rows = self._db.execute(
            f"SELECT sequence, body FROM results WHERE {' AND '.join(where)}"  # noqa: S608  # constants
            " ORDER BY sequence DESC LIMIT ?",
            [*values, wanted.limit + 1],
        )
        found: list[Result] = []
        size, last = 0, 0
        for row in rows:
            size += len(row["body"])
            # A page of the largest results is cut short instead of filling the memory.
            if len(found) == wanted.limit or (found and size > MAX_PAGE_BYTES):
                return ResultPage(results=found, after=str(last))
            found.append(msgspec.json.decode(row["body"], type=Result))
            last = row["sequence"]
        return ResultPage(results=found, after=None)


def _filters(wanted: Wanted, columns: dict[str, str], time: str) -> tuple[list[str], list[Any]]:
    where, values = ["1"], []
    for name, column in columns.items():
        value = getattr(wanted, name)
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.since is not None:
        where.append(f"{time} >= ?")
        values.append(wanted.since)
    return where, values


def _job(row: sqlite3.Row) -> JobRow:
    names = _JOB_COLUMNS.split(", ")
    return JobRow(**{"job_class" if name == "class" else name: row[name] for name in names})


def _ended(result: Result) -> str:
    """When a result was there: its start plus its duration."""
    try:
        return clock.rfc3339(clock.epoch_ns(result.started) + (result.duration_ns or 0))
    except (ValueError, OverflowError, OSError):
        return result.started
