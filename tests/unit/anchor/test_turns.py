from collections import Counter
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from anchor.turns import BATCH_EVERY, Turns, Wish

ALL: list[Wish] = [("live", "n1"), ("live", "any"), ("batch", "n1"), ("batch", "any")]
WISHES = [list(some) for size in range(1, 5) for some in combinations(ALL, size)]


@given(st.lists(st.sampled_from(WISHES), max_size=200))
def test_a_slot_goes_to_somebody_who_waits(rounds: list[list[Wish]]) -> None:
    turns = Turns()
    assert all(turns.next(wishes) in wishes for wishes in rounds)


@given(st.lists(st.sampled_from([wishes for wishes in WISHES if len({kind for kind, _ in wishes}) == 2]), max_size=400))
def test_batch_gets_every_tenth_slot_behind_a_live_load_without_end_and_not_one_more(rounds: list[list[Wish]]) -> None:
    turns = Turns()
    given_to = [turns.next(wishes)[0] for wishes in rounds]
    assert given_to.count("batch") == len(rounds) // BATCH_EVERY
    assert all(kind == "batch" for kind in given_to[BATCH_EVERY - 1 :: BATCH_EVERY])


@given(st.lists(st.sampled_from(WISHES), min_size=1, max_size=200))
def test_live_is_never_made_to_wait_for_two_batch_jobs_in_a_row(rounds: list[list[Wish]]) -> None:
    turns, before = Turns(), ""
    for wishes in rounds:
        kind = turns.next(wishes)[0]
        if kind == "batch" and before == "batch" and any(wish[0] == "live" for wish in wishes):
            raise AssertionError(rounds)
        before = kind if any(wish[0] == "live" for wish in wishes) else ""


def test_the_two_places_of_a_class_take_turns_and_the_node_comes_first() -> None:
    turns = Turns()
    places = [turns.next([("live", "any"), ("live", "n1")])[1] for _ in range(6)]
    assert places == ["n1", "any"] * 3


def test_whoever_waits_alone_gets_everything() -> None:
    turns = Turns()
    assert Counter(turns.next([("batch", "any")]) for _ in range(20)) == {("batch", "any"): 20}
    assert turns.next([("batch", "any"), ("live", "any")])[0] == "live"
