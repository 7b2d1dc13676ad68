"""Users for workers: their numbers, and what a runtime must hold to give them."""

import os

import pytest

from contracts.errors import InvalidField
from runtime.box.user import Claim, Users, lacking


def test_a_nodes_name_says_where_it_begins_to_look_for_a_range() -> None:
    assert len({next(Users.ranges(f"n{number}")).first for number in range(1, 9)}) == 8
    for node in ("n1", "fra1", "a" * 32):
        ranges = list(Users.ranges(node))
        assert len({users.first for users in ranges}) == 100
        for users in ranges:
            assert 400_000 <= users.first < users.last < 500_000
            assert users.last - users.first == 999


def test_two_nodes_of_one_name_share_no_user_and_a_range_is_free_again_when_its_holder_ends() -> None:
    node = f"claims{os.getpid()}"
    one, two = Claim(node), Claim(node)
    first = one.users
    assert first.last < two.users.first or two.users.last < first.first
    one.close()
    again = Claim(node)
    assert again.users == first
    two.close()
    again.close()


def test_a_range_can_be_set() -> None:
    assert Users.read("70000-70003", at="x") == Users(70000, 70003)


@pytest.mark.parametrize("text", ["0-5", "5-4", "7", "a-b", "1-99999999999", "-1-5", "1 - 5", "\u0663-\u0665"])
def test_a_range_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidField, match="MMN_X"):
        Users.read(text, at="MMN_X")


def test_numbers_are_used_round_and_round() -> None:
    users = Users(10, 12)
    assert [users.after(user) for user in (10, 11, 12, 99)] == [11, 12, 10, 10]


def test_what_is_lacking_is_named() -> None:
    assert lacking(0x1FF) == []
    assert lacking(0x1FF & ~(1 << 6)) == ["CAP_SETGID"]
    assert lacking(0) == ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
