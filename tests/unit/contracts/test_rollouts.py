"""The steps of a rollout as functions, and evidence that adds up."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.evidence import CallCounts, Evidence, bucket_of, merge, quantile_ns
from contracts.functions import Deployment, Manifest, Strategy
from contracts.rollouts import (
    KEPT_STEPS,
    Version,
    begin,
    on_its_way,
    promote,
    replace_at_once,
    return_to,
    roll_back,
    weigh,
    withdrawn,
)

MANIFEST = Manifest(summary="x")
DIGESTS = {f"1.{minor}.0": str(minor) * 64 for minor in range(4)}
V0, V1, V2, V3 = (Version(version=version, digest=digest, manifest=MANIFEST) for version, digest in DIGESTS.items())
HELD = Deployment(function="echo", version="1.0.0", digest=V0.digest, manifest=MANIFEST, versions=DIGESTS)


def begun(before: Deployment = HELD, new: Version = V1) -> Deployment:
    return begin(before, new, Strategy(steps=[0.1, 0.5]), at="t1", by="admin")


def ended(before: Deployment) -> Deployment:
    return roll_back(before, at="t2", by="anchor1", reason="worse")


def test_until_it_is_promoted_the_old_version_is_the_deployed_one() -> None:
    on_way = weigh(begun(), 1, at="t2", by="anchor1")
    assert on_way.rollout is not None
    assert (on_way.version, on_way.rollout.weight, on_way.rollout.step) == ("1.0.0", 0.5, 1)
    trial = on_its_way(on_way)
    assert trial is not None
    assert (trial.version, trial.digest) == ("1.1.0", V1.digest)
    done = promote(on_way, at="t3", by="anchor1", reason="sound")
    assert (done.version, done.digest, done.previous, done.rollout) == ("1.1.0", V1.digest, "1.0.0", None)
    assert [step.what for step in done.history] == ["started", "weight", "promoted"]
    assert len({step.rollout for step in done.history}) == 1
    assert on_its_way(done) is None


def test_what_was_rolled_back_or_superseded_is_withdrawn_until_it_is_deployed_again() -> None:
    assert withdrawn(begun()) == frozenset()
    back = ended(begun())
    assert withdrawn(back) == {V1.digest}
    over = begun(begun(back, V2), V3)
    assert [step.version for step in over.history if step.what == "superseded"] == ["1.2.0"]
    assert withdrawn(over) == {V1.digest, V2.digest}
    assert withdrawn(begun(over, V1)) == {V2.digest, V3.digest}
    assert withdrawn(promote(over, at="t", by="a", reason="")) == {V1.digest, V2.digest}
    assert withdrawn(replace_at_once(over, V1, at="t", by="a")) == {V2.digest, V3.digest}


def test_the_version_that_was_left_is_withdrawn_and_can_be_gone_back_to() -> None:
    newer = replace_at_once(HELD, V1, at="t", by="admin")
    left = return_to(newer, V0, at="t", by="admin")
    assert (left.version, left.previous) == ("1.0.0", "1.1.0")
    assert withdrawn(left) == {V1.digest}
    again = return_to(left, V1, at="t", by="admin")
    assert again.version == "1.1.0"
    assert withdrawn(again) == {V0.digest}


def test_the_history_is_bounded_and_keeps_the_newest() -> None:
    held = HELD
    for count in range(KEPT_STEPS):
        held = replace_at_once(held, V1 if count % 2 else V0, at=str(count), by="admin", reason="x" * 10_000)
    held = ended(begun(held, V2))
    assert len(held.history) == KEPT_STEPS
    assert held.history[-1].reason == "worse"
    assert max(len(step.reason) for step in held.history) == 500


durations = st.lists(st.integers(0, 10**13), min_size=1, max_size=50)


def counted(values: list[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for value in values:
        found[bucket_of(value)] = found.get(bucket_of(value), 0) + 1
    return found


@given(durations, st.floats(0.01, 1.0))
def test_a_quantile_is_right_to_within_a_bucket(values: list[int], share: float) -> None:
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    found = quantile_ns(counted(values), share)
    assert found is not None
    assert max(1, exact) <= found + 1
    assert found <= max(2, exact * 1.19 + 1)


@given(st.integers(1, 10**18))
def test_a_longer_duration_is_never_in_an_earlier_bucket(value: int) -> None:
    assert bucket_of(value) <= bucket_of(value + 1) <= bucket_of(value) + 4
    assert 2 ** (bucket_of(value) / 4) <= value * 1.0000001


def test_nothing_counted_has_no_quantile() -> None:
    assert quantile_ns({}, 0.5) is None
    assert bucket_of(-5) == 0


tallies = st.builds(
    lambda values, faults: CallCounts(
        calls=len(values) + faults, faults=faults, wait=counted(values), run=counted(values)
    ),
    durations,
    st.integers(0, 5),
)


@given(st.lists(tallies, min_size=1, max_size=5), st.randoms())
def test_evidence_adds_up_in_any_order_and_none_of_another_rollout(parts: list[CallCounts], chance: object) -> None:
    rollout = begun().rollout
    assert rollout is not None
    seen = [Evidence(rollout=rollout.id, function="echo", source=str(n), new=one) for n, one in enumerate(parts)]
    other = replace(seen[0], rollout="another")
    whole = merge(rollout, "echo", [*seen, other])
    chance.shuffle(seen)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert merge(rollout, "echo", seen) == whole
    assert whole.new.calls == sum(one.calls for one in parts)
    assert quantile_ns(whole.new.wait, 1.0) == max(quantile_ns(one.wait, 1.0) or 0 for one in parts)
