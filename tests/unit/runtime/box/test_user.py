"""Users for workers: their numbers, and what a runtime must hold to give them."""

import pytest

from contracts.errors import InvalidField
from runtime.box.user import Users, lacking


def test_a_node_gets_a_range_by_its_name() -> None:
    ranges = {Users.read("", f"n{number}", at="x").first for number in range(1, 9)}
    assert len(ranges) == 8
    for node in ("n1", "fra1", "a" * 32):
        users = Users.read("", node, at="x")
        assert users == Users.read("", node, at="x")
        assert 400_000 <= users.first < users.last < 500_000
        assert users.last - users.first == 999


def test_a_range_can_be_set() -> None:
    assert Users.read("70000-70003", "n1", at="x") == Users(70000, 70003)


@pytest.mark.parametrize("text", ["0-5", "5-4", "7", "a-b", "1-99999999999", "-1-5", "1 - 5", "\u0663-\u0665"])
def test_a_range_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidField, match="MMN_X"):
        Users.read(text, "n1", at="MMN_X")


def test_numbers_are_used_round_and_round() -> None:
    users = Users(10, 12)
    assert [users.after(user) for user in (10, 11, 12, 99)] == [11, 12, 10, 10]


def test_what_is_lacking_is_named() -> None:
    assert lacking(0x1FF) == []
    assert lacking(0x1FF & ~(1 << 6)) == ["CAP_SETGID"]
    assert lacking(0) == ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
