"""Invitations and who may use them: decisions alone."""

import nkeys
import pytest

from contracts import clock
from contracts.access import tokens
from contracts.access.book import Book
from contracts.errors import InvalidField, Refused
from contracts.membership import Invite, Join

NODE = Invite(kind="node", name="fra1", labels={"site": "fra"})
MODULE = Invite(kind="module", name="lab1", function="my-probe")


def user() -> str:
    return tokens.public(tokens.new_user_key())


def signing() -> str:
    return tokens.public(tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT))


def test_an_invitation_is_used_up_by_a_join() -> None:
    book = Book()
    wish = Join(token=book.invite(NODE, taken=False), user_key=user(), signing_key=signing())
    assert book.invited() == ["fra1"]
    assert book.redeem(wish).labels == {"site": "fra"}
    assert book.invited() == []
    with pytest.raises(Refused, match="used already"):
        book.redeem(wish)


def test_a_refused_join_does_not_use_the_invitation_up() -> None:
    book = Book()
    token = book.invite(NODE, taken=False)
    for wrong in (
        Join(token=token, user_key=user()),
        Join(token=token, user_key=user(), signing_key=user()),
        Join(token=token, user_key=signing(), signing_key=signing()),
        Join(token=token, user_key=user(), signing_key=signing(), name="ber1"),
    ):
        with pytest.raises(InvalidField):
            book.redeem(wrong)
    assert book.redeem(Join(token=token, user_key=user(), signing_key=signing(), name="fra1")).name == "fra1"


def test_a_module_brings_no_signing_key() -> None:
    book = Book()
    token = book.invite(MODULE, taken=False)
    with pytest.raises(InvalidField, match="signing_key"):
        book.redeem(Join(token=token, user_key=user(), signing_key=signing()))
    assert book.redeem(Join(token=token, user_key=user())).function == "my-probe"


def test_the_newest_invitation_of_a_name_counts() -> None:
    book = Book()
    first, second = book.invite(NODE, taken=False), book.invite(NODE, taken=False)
    with pytest.raises(Refused, match="unknown"):
        book.redeem(Join(token=first, user_key=user(), signing_key=signing()))
    book.redeem(Join(token=second, user_key=user(), signing_key=signing()))


def test_an_invitation_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book()
    token = book.invite(NODE, taken=False)
    now = clock.wall_ns()
    monkeypatch.setattr(clock, "wall_ns", lambda: now + 3601 * 1_000_000_000)
    with pytest.raises(Refused, match="has expired") as refused:
        book.redeem(Join(token=token, user_key=user(), signing_key=signing()))
    assert refused.value.code == 410
    assert book.invited() == []


def test_a_revoked_key_cannot_join_again() -> None:
    book = Book()
    key = user()
    book.revoke_user(key)
    with pytest.raises(Refused, match="was revoked"):
        book.redeem(Join(token=book.invite(NODE, taken=False), user_key=key, signing_key=signing()))


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (Invite(kind="node", name="Fra1"), "name"),
        (Invite(kind="node", name="a.b"), "name"),
        (Invite(kind="node", name="*"), "name"),
        (Invite(kind="node", name="fra1", labels={"a b": "c"}), "labels"),
        (Invite(kind="node", name="fra1", function="echo"), "function"),
        (Invite(kind="module", name="lab1", function="*"), "function"),
        (Invite(kind="module", name="lab1"), "function"),
    ],
)
def test_a_wish_that_could_widen_a_subject_is_refused(wish: Invite, field: str) -> None:
    with pytest.raises(InvalidField, match=field):
        Book().invite(wish, taken=False)
