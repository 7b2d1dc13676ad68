"""The table of the index that holds who did what, and how to page through it. Synchronous, as the rest of the index."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
from msgspec import Struct

from contracts import clock, codec, streams
from contracts.audit import AuditEntry, Kind
from contracts.errors import InvalidField, Refused
from gateway.records import Record

TABLE = """
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY, subject TEXT NOT NULL, at TEXT NOT NULL, user TEXT, action TEXT NOT NULL,
    kind TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX audit_by_subject ON audit (subject, sequence);
"""


class AuditPage(Struct, frozen=True, kw_only=True):
    """Some entries, newest first. `after` asks for the next ones; None at the end."""

    entries: list[AuditEntry]
    after: str | None


class AuditWish(Struct, frozen=True, kw_only=True):
    """Which entries to list. `since` is RFC 3339, `after` comes from the page before."""

    user: str | None = None
    action: str | None = None
    kind: Kind | None = None
    since: str | None = None
    after: str | None = None
    limit: int = 50


def take(db: sqlite3.Connection, record: Record) -> None:
    """Keep one entry. Raises Refused when it speaks for another gateway or kind than its subject does."""
    entry = codec.decode(record.data, AuditEntry, record.media)
    if record.subject.split(".")[2:] != [entry.gateway, entry.kind]:
        raise Refused(400, "invalid-entry", "subject and entry differ")
    clock.epoch_ns(entry.at)
    db.execute(
        "INSERT OR IGNORE INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)",
        (record.sequence, record.subject, entry.at, entry.user, entry.action, entry.kind, msgspec.json.encode(entry)),
    )


def prune(db: sqlite3.Connection, first: int) -> None:
    """Drop what the stream no longer keeps: by age, and of each subject beyond its bound."""
    db.execute("DELETE FROM audit WHERE sequence < ?", (first,))
    for (subject,) in db.execute("SELECT DISTINCT subject FROM audit").fetchall():
        db.execute(
            "DELETE FROM audit WHERE subject = ?1 AND sequence <= (SELECT sequence FROM audit WHERE subject = ?1"
            " ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
            (subject, streams.AUDIT_BOUND),
        )


def page(db: sqlite3.Connection, wish: AuditWish) -> AuditPage:
    """Entries, newest first. Raises InvalidField for a bad `after`."""
    where, values = ["1"], list[Any]()
    for column, value in (("user", wish.user), ("action", wish.action), ("kind", wish.kind)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wish.since is not None:
        where.append("at >= ?")
        values.append(wish.since)
    if wish.after is not None:
        if not wish.after.isdecimal() or len(wish.after) > 18:
            raise InvalidField("after", "must be the value of the page before")
        where.append("sequence < ?")
        values.append(int(wish.after))
    rows = db.execute(
        f"SELECT sequence, body FROM audit WHERE {' AND '.join(where)} ORDER BY sequence DESC LIMIT ?",  # noqa: S608  # constants
        [*values, wish.limit + 1],
    ).fetchall()
    found = rows[: wish.limit]
    return AuditPage(
        entries=[msgspec.json.decode(row["body"], type=AuditEntry) for row in found],
        after=str(found[-1]["sequence"]) if len(rows) > wish.limit else None,
    )
