import random

from hypothesis import given
from hypothesis import strategies as st

from anchor.instance import Instance
from anchor.limiter import Limiter
from anchor.router import Versions, choose, pick, split
from tests.unit.anchor.builders import card


def instance(name: str, in_flight: int, limit: int) -> Instance:
    return Instance(name, "n1", card(concurrency=limit), {}, 0, Limiter(limit), in_flight=in_flight)


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


@given(
    st.lists(st.tuples(st.integers(0, 10), st.floats(1, 10), st.booleans(), st.booleans()), max_size=8),
    st.integers(0, 1000),
    st.sets(st.integers(0, 7)),
)
def test_learned_limits_ejections_and_avoided_ones_are_kept(
    load: list[tuple[int, float, bool, bool]], seed: int, avoided: set[int]
) -> None:
    candidates = []
    for number, (in_flight, limit, ejected, up) in enumerate(load):
        one = instance(f"i{number}", in_flight, 10)
        one.limiter.limit, one.ejected, one.state = limit, ejected, "up" if up else "suspect"
        candidates.append(one)
    avoid = {f"i{number}" for number in avoided}
    chosen = choose(candidates, 0, random.Random(seed), avoid=avoid)
    able = [one for one in candidates if one.state == "up" and not one.ejected and one.in_flight + 1 <= one.limit]
    if chosen is None:
        assert not [one for one in able if one.id not in avoid]
    else:
        assert chosen in able
        assert chosen.id not in avoid or all(one.id in avoid for one in candidates)


def test_a_lower_learned_limit_gets_less() -> None:
    chance, slow, fast = random.Random(1), instance("slow", 2, 10), instance("fast", 2, 10)
    slow.limiter.limit = 4.0
    picks = [choose([slow, fast], 0, chance) for _ in range(400)]
    assert picks.count(fast) > 250


def test_load_that_others_put_on_an_instance_counts() -> None:
    chance, theirs, free = random.Random(1), instance("theirs", 0, 10), instance("free", 1, 10)
    theirs.elsewhere = 5
    picks = [choose([theirs, free], 0, chance) for _ in range(400)]
    assert picks.count(free) > 250


def test_a_half_open_instance_gets_one_call_at_a_time() -> None:
    one = instance("one", 0, 4)
    for _ in range(5):
        one.breaker.ended(ok=False, began_ns=0, now_ns=0)
    one.ejected = True
    assert choose([one], 0, random.Random(1)) is None
    one.breaker.tick(10**12)
    assert choose([one], 0, random.Random(1)) is one
    one.in_flight = 1
    assert choose([one], 0, random.Random(1)) is None


def of_version(name: str, digest: str, in_flight: int = 0, limit: int = 4) -> Instance:
    return Instance(name, "n1", card(concurrency=limit, digest=digest), {}, 0, Limiter(limit), in_flight=in_flight)


digests = st.sampled_from(["old", "new", "gone", "other"])
groups = st.lists(st.tuples(digests, st.integers(0, 2), st.integers(1, 2)), max_size=8)


@given(groups, st.booleans(), st.integers(0, 1000))
def test_the_version_on_trial_gets_no_undrawn_job_and_starves_none(
    group: list[tuple[str, int, int]], drawn: bool, seed: int
) -> None:
    candidates = [of_version(f"i{number}", *one) for number, one in enumerate(group)]
    versions = Versions(deployed="old", trial="new", weight=0.5, withdrawn=frozenset({"gone"}))
    chosen = pick(candidates, versions, 0, random.Random(seed), on_trial=drawn)
    old = [one for one in candidates if one.card.digest in {"old", "other"}]
    if chosen is None:
        # With nothing of the old version there, whoever is there is taken.
        assert not [one for one in old or candidates if one.free(0)]
    elif old and not drawn:
        assert chosen in old
    else:
        assert chosen.card.digest != "gone" or not old
        assert chosen.free(0)


@given(groups)
def test_every_candidate_is_on_one_side_or_withdrawn(group: list[tuple[str, int, int]]) -> None:
    candidates = [of_version(f"i{number}", *one) for number, one in enumerate(group)]
    old, trial = split(candidates, Versions(deployed="old", trial="new", withdrawn=frozenset({"gone"})))
    assert bool(old) == bool(candidates)
    assert not {one.id for one in old} & {one.id for one in trial}
    assert all(one.card.digest == "new" for one in trial)
    assert split(candidates, Versions(deployed="old")) == (candidates, ())
