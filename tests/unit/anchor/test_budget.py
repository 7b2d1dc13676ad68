from hypothesis import given
from hypothesis import strategies as st

from anchor.budget import SHARE, Budget

S = 1_000_000_000
events = st.lists(
    st.tuples(st.sampled_from(["success", "retry", "move"]), st.integers(0, 2 * S)),
    max_size=200,
)


@given(events, st.floats(0.5, 10), st.integers(1, 30))
def test_no_more_retries_than_a_share_of_successes_and_the_floor(
    story: list[tuple[str, int]], floor: float, burst: int
) -> None:
    budget, now, retries, successes = Budget(floor_per_s=floor, burst=burst), 0, 0, 0
    for kind, later in story:
        now += later
        if kind == "success":
            successes += 1
            budget.succeeded(now)
        elif budget.take(now):
            retries += 1
        assert retries <= SHARE * successes + burst + floor * now / S + 1e-6
        assert budget.left >= 0


@given(st.lists(st.integers(0, S // 10), min_size=1, max_size=100), st.floats(1, 50))
def test_moves_are_spread_and_keep_their_order(pauses: list[int], floor: float) -> None:
    budget, now, due = Budget(floor_per_s=floor, burst=1), 0, []
    for pause in pauses:
        now += pause
        due.append(now + budget.reserve(now))
    # One in hand at the start, then never faster than the floor.
    assert due == sorted(due)
    assert len(due) <= 2 + floor * (due[-1] + 1) / S


def test_a_quiet_network_can_retry() -> None:
    budget = Budget(floor_per_s=1.0, burst=3)
    assert [budget.take(0) for _ in range(4)] == [True, True, True, False]
    assert not budget.take(S // 2)
    assert budget.take(S)


def test_ten_successes_pay_for_one_retry() -> None:
    budget = Budget(floor_per_s=0.001, burst=1)
    budget.take(0)
    for _ in range(9):
        budget.succeeded(0)
    assert not budget.take(0)
    budget.succeeded(0)
    assert budget.take(0)


def test_only_recent_successes_count() -> None:
    budget = Budget(floor_per_s=0.0001, burst=1)
    budget.take(0)
    for _ in range(100):
        budget.succeeded(0)
    assert 9.9 < budget.left < 10.1
    assert not budget.take(60 * S)


def test_a_clock_that_stands_still_or_steps_back_gives_nothing() -> None:
    budget = Budget(floor_per_s=1000.0, burst=1)
    assert budget.take(S)
    assert not budget.take(0)
    assert not budget.take(S)
