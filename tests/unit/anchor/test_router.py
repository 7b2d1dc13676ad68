import random

from hypothesis import given
from hypothesis import strategies as st

from anchor.registry import Instance
from anchor.router import choose
from tests.unit.anchor.builders import card


def instance(name: str, in_flight: int, limit: int) -> Instance:
    return Instance(name, "n1", card(concurrency=limit), {}, 0, in_flight=in_flight, limit=limit)


loads = st.lists(st.tuples(st.integers(0, 10), st.integers(1, 10)), max_size=8)


@given(loads, st.integers(0, 1000))
def test_only_an_instance_with_a_free_slot_is_chosen(load: list[tuple[int, int]], seed: int) -> None:
    candidates = [instance(f"i{number}", *pair) for number, pair in enumerate(load)]
    chosen = choose(candidates, 0, random.Random(seed))
    if chosen is None:
        assert all(pair[0] >= pair[1] for pair in load)
    else:
        assert chosen.in_flight < chosen.limit


def test_the_busier_of_two_is_hardly_ever_chosen() -> None:
    chance, idle, busy = random.Random(1), instance("idle", 0, 10), instance("busy", 9, 10)
    picks = [choose([idle, busy], 0, chance) for _ in range(400)]
    assert 250 < picks.count(idle) < 350  # both samples hit the busy one in a quarter of the cases


def test_an_instance_that_failed_is_avoided_while_there_is_another() -> None:
    chance, tried, other = random.Random(1), instance("tried", 0, 2), instance("other", 1, 2)
    assert all(choose([tried, other], 0, chance, avoid=["tried"]) is other for _ in range(20))
    other.in_flight = 2
    assert choose([tried, other], 0, chance, avoid=["tried"]) is None
    assert choose([tried], 0, chance, avoid=["tried"]) is tried


def test_suspect_draining_and_pressed_instances_take_nothing() -> None:
    for state in ("suspect", "draining", "down", "starting"):
        one = instance("one", 0, 2)
        one.state = state
        assert choose([one], 0, random.Random(1)) is None
    pressed = instance("one", 0, 2)
    pressed.pressed_until_ns = 10
    assert choose([pressed], 9, random.Random(1)) is None
    assert choose([pressed], 10, random.Random(1)) is pressed
