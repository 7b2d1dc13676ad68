"""Entries of the audit log in the index: paged, filtered, and gone when the stream lets go of them."""

import msgspec
import pytest

from contracts import streams
from contracts.audit import AuditEntry, Kind
from contracts.errors import InvalidField
from gateway.ledger import AuditWish
from gateway.projection import Projection
from tests.unit.gateway.plane import record

AT = "2030-01-01T00:00:0{}.000000Z"


def entry(number: int, *, kind: Kind = "change", user: str | None = "ada", action: str = "scale") -> AuditEntry:
    return AuditEntry(at=AT.format(number), gateway="g1", kind=kind, action=action, status=200, user=user)


@pytest.fixture
def projection() -> Projection:
    made = Projection(None)
    entries = [
        entry(1),
        entry(2, kind="refused", user=None, action="token"),
        entry(3, user="bob"),
        entry(4, kind="job", action="submit"),
    ]
    records = [record(n, f"mmn.audit.g1.{one.kind}", one) for n, one in enumerate(entries, 1)]
    made.apply(streams.AUDIT, records)
    return made


def times(projection: Projection, **wish: object) -> list[int]:
    page = projection.audit(msgspec.convert(wish, AuditWish))
    return [int(one.at[18]) for one in page.entries]


def test_the_newest_come_first_and_filters_narrow_them(projection: Projection) -> None:
    assert times(projection) == [4, 3, 2, 1]
    assert times(projection, user="ada") == [4, 1]
    assert times(projection, kind="refused") == [2]
    assert times(projection, action="scale", since=AT.format(2)) == [3]


def test_a_page_says_where_the_next_begins(projection: Projection) -> None:
    first = projection.audit(AuditWish(limit=3))
    assert (len(first.entries), first.after) == (3, "2")
    second = projection.audit(AuditWish(limit=3, after=first.after))
    assert ([one.at for one in second.entries], second.after) == ([AT.format(1)], None)
    for bad in ("x", "-1", "9" * 19):
        with pytest.raises(InvalidField):
            projection.audit(AuditWish(after=bad))


def test_an_entry_that_speaks_for_another_is_left_out(projection: Projection) -> None:
    forged = [record(5, "mmn.audit.g2.change", entry(5)), record(6, "mmn.audit.g1.job", entry(6))]
    projection.apply(
        streams.AUDIT,
        [*forged, record(7, "mmn.audit.g1.change", {"at": 1}), record(8, "mmn.audit.g1.change", entry(8))],
    )
    assert times(projection) == [8, 4, 3, 2, 1]


def test_what_the_stream_let_go_of_goes(projection: Projection, monkeypatch: pytest.MonkeyPatch) -> None:
    projection.prune(streams.AUDIT, 2)
    assert times(projection) == [4, 3, 2]
    monkeypatch.setattr(streams, "AUDIT_BOUND", 1)
    projection.apply(streams.AUDIT, [record(5, "mmn.audit.g1.change", entry(5))])
    projection.prune(streams.AUDIT, 2)
    # The bound is each subject's own.
    assert times(projection) == [5, 4, 2]


def test_a_stream_made_anew_begins_anew(projection: Projection) -> None:
    projection.apply(streams.AUDIT, [record(1, "mmn.audit.g1.change", entry(9), incarnation="two")])
    assert times(projection) == [9]
