from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from anchor.limiter import CUT_EVERY_NS, DELAY_NS, Limiter

MS = 1_000_000
waits = st.integers(0, 400 * MS)
steps = st.lists(
    st.tuples(
        st.sampled_from(["success", "full", "cap"]),
        waits,
        st.integers(0, 64),
        st.integers(0, 400 * MS),
    ),
    max_size=60,
)


def play(limiter: Limiter, story: list[tuple[str, int, int, int]]) -> list[tuple[int, float]]:
    """Apply a story; returns the time and the limit after each step."""
    now, seen = 0, []
    for kind, wait, number, later in story:
        now += later
        if kind == "success":
            limiter.succeeded(wait, number, now)
        elif kind == "full":
            limiter.pressed(now)
        else:
            limiter.set_cap(number)
        seen.append((now, limiter.limit))
    return seen


@given(st.integers(-3, 64), steps)
def test_the_limit_stays_between_one_and_the_cap(cap: int, story: list[tuple[str, int, int, int]]) -> None:
    limiter = Limiter(cap)
    assert limiter.limit == limiter.cap
    for step in story:
        play(limiter, [step])
        assert 1 <= limiter.limit <= limiter.cap


@given(st.integers(1, 64), steps)
def test_at_most_one_cut_in_a_second(cap: int, story: list[tuple[str, int, int, int]]) -> None:
    limiter, before, cuts = Limiter(cap), float(cap), []
    for now, limit in play(limiter, [step for step in story if step[0] != "cap"]):
        if limit < before:
            cuts.append(now)
        before = limit
    assert all(later - earlier >= CUT_EVERY_NS for earlier, later in pairwise(cuts))


@given(st.integers(2, 64), st.floats(1, 64), waits, st.integers(0, 64))
def test_a_success_never_lowers_the_limit_and_a_wait_never_raises_it(
    cap: int, start: float, wait: int, in_flight: int
) -> None:
    limiter = Limiter(cap, start=start)
    before = limiter.limit
    limiter.succeeded(wait, in_flight, 0)
    if wait > DELAY_NS:
        assert limiter.limit <= before
    else:
        assert limiter.limit >= before


@given(st.integers(2, 64), waits, waits, st.integers(0, 64))
def test_a_longer_wait_never_leads_to_a_higher_limit(cap: int, one: int, other: int, in_flight: int) -> None:
    shorter, longer = Limiter(cap, start=cap / 2), Limiter(cap, start=cap / 2)
    shorter.succeeded(min(one, other), in_flight, 0)
    longer.succeeded(max(one, other), in_flight, 0)
    assert longer.limit <= shorter.limit


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    limiter = Limiter(10, start=5)
    limiter.succeeded(0, 3, 0)
    assert limiter.limit == 5
    limiter.succeeded(0, 4, 0)
    assert limiter.limit == 5.2


def test_overload_is_cut_by_the_same_share_whoever_tells_of_it() -> None:
    full, slow = Limiter(10), Limiter(10)
    full.pressed(0)
    slow.succeeded(DELAY_NS + 1, 10, 0)
    assert full.limit == slow.limit == 8.5


def test_a_limit_that_was_not_learned_follows_the_cap() -> None:
    limiter = Limiter(4)
    limiter.set_cap(2)
    limiter.set_cap(8)
    assert limiter.limit == 8
    limiter.pressed(0)
    limiter.set_cap(20)
    assert limiter.limit == 8 * 0.85


@given(st.integers(1, 32), st.floats(1, 32))
def test_a_limit_that_is_used_grows_back_to_the_cap(cap: int, start: float) -> None:
    """A bug once: of a limit of 1.7 only one call can be used, which counted as idle for ever."""
    limiter = Limiter(cap, start=start)
    for _ in range(cap * cap + 1):
        limiter.succeeded(0, int(limiter.limit), 0)
    assert limiter.limit == cap
