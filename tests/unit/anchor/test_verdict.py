"""When a rollout goes on, when it is promoted, and when it is rolled back."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.verdict import (
    ENOUGH_CALLS,
    LINGER_S,
    PATIENCE_S,
    Promote,
    RollBack,
    Standing,
    Verdict,
    Wait,
    Weight,
    decide,
    surplus,
    wilson,
)
from contracts.evidence import CallCounts, Evidence, Pairs, bucket_of
from contracts.functions import Deployment, Manifest, Strategy
from contracts.rollouts import Version, begin, weigh

MANIFEST = Manifest(summary="x")
OLD = Deployment(function="echo", version="1.0.0", digest="0" * 64, manifest=MANIFEST)
NEW = Version(version="1.1.0", digest="1" * 64, manifest=MANIFEST)
MS = 1_000_000
NODES = frozenset({"n1", "n2"})
READY = Standing(nodes=NODES, ready=NODES, watched_s=2.0, calls=100)


def rollout(step: int | None = None, *, paired: bool = False) -> Deployment:
    begun = begin(OLD, NEW, Strategy(steps=[0.1, 0.5], hold_s=2.0, paired=paired), at="t", by="admin")
    return begun if step is None else weigh(begun, step, at="t", by="anchor1")


def tally(calls: int, faults: int = 0, *, wait_ms: float = 1.0) -> CallCounts:
    done = calls - faults
    wait = {bucket_of(int(wait_ms * MS)): done} if done else {}
    return CallCounts(calls=calls, faults=faults, last_fault="boom" if faults else "", wait=wait)


NONE, NO_PAIRS = CallCounts(), Pairs()


def judge(
    deployment: Deployment,
    old: CallCounts = NONE,
    new: CallCounts = NONE,
    standing: Standing = READY,
    pairs: Pairs = NO_PAIRS,
) -> Verdict:
    seen = Evidence(rollout="r", function="echo", old=old, new=new, pairs=pairs)
    return decide(deployment, seen, standing)


# --- becoming ready ------------------------------------------------------------------------------------------


def test_the_first_step_comes_when_every_node_is_ready() -> None:
    assert judge(rollout()) == Weight(0, "ready on 2 nodes")
    late = Standing(nodes=NODES, ready=frozenset({"n1"}), watched_s=PATIENCE_S - 1)
    assert judge(rollout(), standing=late) == Wait("not ready on n2")


def test_who_does_not_become_ready_in_time_is_rolled_back() -> None:
    late = Standing(nodes=NODES, ready=frozenset({"n1"}), watched_s=PATIENCE_S)
    assert judge(rollout(), standing=late) == RollBack("not ready on n2 within 60 s")
    nobody = Standing(watched_s=PATIENCE_S)
    assert judge(rollout(), standing=nobody) == RollBack("not ready on any node within 60 s")


def test_a_node_that_cannot_run_it_ends_it_with_the_workers_reason() -> None:
    for step in (None, 0, 1):
        broken = Standing(nodes=NODES, ready=NODES, broken={"n2": "cannot be loaded: SyntaxError"})
        assert judge(rollout(step), standing=broken) == RollBack("n2: cannot be loaded: SyntaxError")


def test_where_nothing_runs_there_is_nothing_to_protect() -> None:
    alone = Standing(nodes=NODES, ready=NODES, old_runs=False)
    assert isinstance(judge(rollout(), standing=alone), Promote)
    nowhere = Standing(old_runs=False)
    assert judge(rollout(), standing=nowhere) == Promote("no node is there that should run it")


def test_an_anchor_that_has_just_started_goes_not_forward_but_back() -> None:
    young = Standing(nodes=NODES, ready=NODES, watched_s=100.0, informed=False)
    assert isinstance(judge(rollout(), standing=young), Wait)
    assert isinstance(judge(rollout(1), tally(90), tally(10, 10), young), RollBack)


# --- going on ------------------------------------------------------------------------------------------------


def test_each_step_lasts_its_hold_and_the_last_one_ends_in_promotion() -> None:
    early = Standing(nodes=NODES, ready=NODES, watched_s=1.9, calls=500)
    good = (tally(400), tally(100))
    assert isinstance(judge(rollout(0), *good, early), Wait)
    assert judge(rollout(0), *good) == Weight(1, "100 calls, 0 faults")
    assert judge(rollout(1), *good) == Promote("100 calls, 0 faults")


def test_without_jobs_the_holds_are_all() -> None:
    quiet = Standing(nodes=NODES, ready=NODES, watched_s=2.0, calls=0)
    assert isinstance(judge(rollout(1), standing=quiet), Promote)


def test_with_few_jobs_a_step_lasts_longer_but_not_for_ever() -> None:
    def after(seconds: float) -> Standing:
        return Standing(nodes=NODES, ready=NODES, watched_s=2.0 + seconds, calls=10)

    few = (tally(9), tally(1))
    assert isinstance(judge(rollout(1), *few, after(LINGER_S - 1)), Wait)
    assert isinstance(judge(rollout(1), *few, after(LINGER_S)), Promote)
    assert isinstance(judge(rollout(1), tally(10), tally(0), after(LINGER_S)), Wait)
    assert isinstance(judge(rollout(1), tally(10), tally(0), after(PATIENCE_S)), Promote)


def test_a_fault_among_few_calls_is_waited_out_and_then_held_against_it() -> None:
    one = (tally(50), tally(2, 1))
    assert isinstance(judge(rollout(1), *one), Wait)
    patient = Standing(nodes=NODES, ready=NODES, watched_s=2.0 + PATIENCE_S, calls=10)
    verdict = judge(rollout(1), *one, patient)
    assert isinstance(verdict, RollBack)
    assert "boom" in verdict.reason


# --- being worse ---------------------------------------------------------------------------------------------


def test_three_faults_of_three_calls_are_enough_and_two_never_are() -> None:
    assert isinstance(judge(rollout(0), tally(10), tally(3, 3)), RollBack)
    assert not isinstance(judge(rollout(0), tally(1000), tally(2, 2)), RollBack)
    verdict = judge(rollout(0), tally(90, 1), tally(10, 9))
    assert verdict == RollBack("9 of 10 calls ended with a fault (boom); with 1.0.0 1 of 90")


def test_faults_that_the_old_version_has_as_well_are_no_reason() -> None:
    assert not isinstance(judge(rollout(1), tally(50, 50), tally(50, 50)), RollBack)
    assert not isinstance(judge(rollout(1), tally(500, 100), tally(100, 24)), RollBack)


def test_a_version_whose_calls_wait_far_longer_is_rolled_back() -> None:
    verdict = judge(rollout(0), tally(100), tally(30, wait_ms=400.0))
    assert isinstance(verdict, RollBack)
    assert verdict.reason.startswith("calls wait longer: 9 of 10 less than ")
    assert not isinstance(judge(rollout(0), tally(100), tally(ENOUGH_CALLS - 1, wait_ms=400.0)), RollBack)
    assert not isinstance(judge(rollout(0), tally(100), tally(100, wait_ms=90.0)), RollBack)
    assert not isinstance(judge(rollout(0), tally(100, wait_ms=300.0), tally(100, wait_ms=500.0)), RollBack)


def test_a_few_slow_first_calls_are_no_reason() -> None:
    slow_start = CallCounts(calls=40, wait={bucket_of(MS): 34, bucket_of(2000 * MS): 6})
    assert not isinstance(judge(rollout(0), tally(100), slow_start), RollBack)


def test_targets_count_in_paired_mode_alone() -> None:
    calls = (tally(40), tally(40), READY)
    apart = Pairs(seen=40, only_new_failed=14, only_old_failed=1, alike=25)
    assert isinstance(judge(rollout(1, paired=True), *calls, apart), RollBack)
    assert not isinstance(judge(rollout(1), *calls, apart), RollBack)
    even = Pairs(seen=40, only_new_failed=6, only_old_failed=7, alike=27)
    assert isinstance(judge(rollout(1, paired=True), *calls, even), Promote)
    assert isinstance(judge(rollout(1, paired=True), *calls, Pairs(seen=3, alike=3)), Wait)


# --- over many draws -------------------------------------------------------------------------------------------


def course(chance: random.Random, weight: float, p_old: float, p_new: float, calls: int = 600) -> bool:
    """Whether a rollout is rolled back at any moment of a course of calls, each judged as it ends."""
    counts = [0, 0, 0, 0]
    for _ in range(calls):
        new = chance.random() < weight
        counts[2 * new] += 1
        counts[2 * new + 1] += chance.random() < (p_new if new else p_old)
        old, on_trial = tally(counts[0], counts[1]), tally(counts[2], counts[3])
        if isinstance(judge(rollout(0), old, on_trial), RollBack):
            return True
    return False


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.5]))
def test_a_version_that_always_faults_is_always_rolled_back(seed: int, weight: float) -> None:
    assert course(random.Random(seed), weight, 0.02, 1.0)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_a_version_as_good_as_the_old_one_is_hardly_ever_rolled_back(rate: float, weight: float) -> None:
    chance = random.Random(7)
    assert sum(course(chance, weight, rate, rate, calls=300) for _ in range(40)) <= 2


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_the_surplus_is_never_more_than_what_was_seen(a: int, b: int, c: int, d: int) -> None:
    new, old = (min(a, b), b), (min(c, d), d)
    seen = (new[0] / b if b else 0.0) - (old[0] / d if d else 0.0)
    assert surplus(new, old) <= seen + 1e-9
    lower, upper = wilson(*new)
    assert 0.0 <= lower <= upper <= 1.0
