"""What follows the end of a worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.restart import HEALTHY_S, MOST_DELAY_S, SHORT_LIVES, GiveUp, Restart, after_exit, backoff


def test_the_wait_doubles_from_a_tenth_of_a_second_to_ten() -> None:
    assert [backoff(row) for row in range(10)] == [0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


@pytest.mark.parametrize("row", range(1, SHORT_LIVES))
def test_short_lives_are_waited_out(row: int) -> None:
    assert after_exit([1.0] * row) == Restart(backoff(row))


def test_five_short_lives_in_a_row_are_a_crash_loop() -> None:
    assert after_exit([1.0] * 5) == GiveUp("crash loop: 5 lives in a row shorter than 30 s")


def test_a_healthy_life_ends_the_row() -> None:
    assert after_exit([1.0] * 4 + [HEALTHY_S]) == Restart(0.1)
    assert after_exit([1.0] * 4 + [HEALTHY_S, 1.0]) == Restart(0.1)


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=50))
def test_it_gives_up_exactly_when_the_last_five_were_short(lifetimes: list[float]) -> None:
    short = len(lifetimes) >= SHORT_LIVES and all(life < HEALTHY_S for life in lifetimes[-SHORT_LIVES:])
    decision = after_exit(lifetimes)
    assert isinstance(decision, GiveUp) == short
    if isinstance(decision, Restart):
        assert 0.1 <= decision.delay <= MOST_DELAY_S


@given(st.integers(min_value=0, max_value=10_000))
def test_the_wait_is_bounded_for_any_number_of_failures(failures: int) -> None:
    assert 0.1 <= backoff(failures) <= MOST_DELAY_S
