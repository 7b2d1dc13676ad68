import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.breakers import IN_A_ROW, OPEN_S, Breaker, Standing, ejections

S = 1_000_000_000


def breaker() -> Breaker:
    return Breaker(chance=random.Random(1))


def state(one: Breaker) -> str:
    """Its state now: a type checker would take the property for a constant."""
    return one.state


def fault(one: Breaker, now: int, times: int = 1) -> None:
    for _ in range(times):
        one.ended(ok=False, began_ns=now, now_ns=now)


def test_it_opens_after_five_faults_in_a_row_and_not_before() -> None:
    one = breaker()
    fault(one, 0, IN_A_ROW - 1)
    one.ended(ok=True, began_ns=0, now_ns=0)
    fault(one, 0, IN_A_ROW - 1)
    assert state(one) == "closed"
    assert one.ended(ok=False, began_ns=0, now_ns=7)
    assert state(one) == "open"
    assert one.opened_ns == 7


def test_it_opens_when_more_than_half_of_twenty_calls_were_faults() -> None:
    one, calls = breaker(), 0
    for calls in range(1, 100):
        one.ended(ok=calls % 3 == 0, began_ns=0, now_ns=0)
        if state(one) == "open":
            break
    assert calls == 20


def test_half_of_the_calls_being_faults_is_not_enough() -> None:
    one = breaker()
    for call in range(200):
        one.ended(ok=call % 2 == 0, began_ns=0, now_ns=0)
    assert state(one) == "closed"


def test_one_call_decides_when_its_time_is_over() -> None:
    one = breaker()
    fault(one, 0, IN_A_ROW)
    assert not one.tick(int(0.7 * OPEN_S * S))
    assert one.tick(int(1.3 * OPEN_S * S))
    now = int(1.3 * OPEN_S * S)
    assert state(one) == "half-open"
    # One that began before says nothing of now.
    assert not one.ended(ok=True, began_ns=0, now_ns=now)
    assert one.ended(ok=True, began_ns=now, now_ns=now + 1)
    assert state(one) == "closed"
    assert one.opened_ns is None


def test_it_stays_out_longer_each_time_in_a_row() -> None:
    one, now, lasted = breaker(), 0, []
    fault(one, now, IN_A_ROW)
    for _ in range(4):
        began = now
        while not one.tick(now):
            now += S
        lasted.append((now - began) / S)
        fault(one, now)
        assert state(one) == "open"
        assert one.opened_ns == 0
    assert lasted == pytest.approx([30, 60, 90, 120], rel=0.25)


def test_what_ends_while_it_is_open_is_not_counted() -> None:
    one = breaker()
    fault(one, 0, IN_A_ROW)
    for _ in range(50):
        assert not one.ended(ok=True, began_ns=1, now_ns=1)
    assert state(one) == "open"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10 * S)), max_size=300))
def test_it_is_open_only_after_faults_and_never_for_ever(story: list[tuple[bool, int]]) -> None:
    one, now, faults = Breaker(open_s=1.0, chance=random.Random(1)), 0, 0
    for ok, later in story:
        now += later
        one.tick(now)
        one.ended(ok=ok, began_ns=now, now_ns=now)
        faults += not ok
        assert (one.opened_ns is None) == (state(one) == "closed")
        assert one.closed or faults >= IN_A_ROW
    one.tick(now + 15 * S)
    assert state(one) != "open"


groups = st.lists(
    st.tuples(st.booleans(), st.none() | st.integers(0, 100)),
    max_size=30,
).map(lambda pairs: [Standing(f"i{number}", *pair) for number, pair in enumerate(pairs)])


@given(groups)
def test_at_most_a_third_is_ejected_and_only_what_is_open(group: list[Standing]) -> None:
    out = ejections(group)
    assert len(out) <= max(1, len(group) // 3)
    assert out <= {one.id for one in group if one.opened_ns is not None}


@given(groups)
def test_breakers_are_ignored_when_under_half_are_healthy(group: list[Standing]) -> None:
    healthy = sum(one.up and one.opened_ns is None for one in group)
    if 2 * healthy < len(group):
        assert not ejections(group)


@given(groups)
def test_whoever_opened_first_is_out_first(group: list[Standing]) -> None:
    out = ejections(group)
    outside = [one.opened_ns for one in group if one.opened_ns is not None and one.id not in out]
    inside = [one.opened_ns for one in group if one.opened_ns is not None and one.id in out]
    if inside and outside:
        assert max(inside) <= min(outside)


@pytest.mark.parametrize(
    ("opened", "out"),
    [
        ([0], set()),
        ([0, None], {"i0"}),
        ([0, None, None], {"i0"}),
        ([0, 1, None], set()),
        ([0, 1, 2], set()),
        ([1, 0, None, None], {"i1"}),
        ([0, 1, 2, None, None, None], {"i0", "i1"}),
    ],
    ids=str,
)
def test_one_bad_instance_cannot_take_the_others_along(opened: list[int | None], out: set[str]) -> None:
    assert ejections(Standing(f"i{number}", up=True, opened_ns=at) for number, at in enumerate(opened)) == out
