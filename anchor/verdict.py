"""What to do with a rollout next: wait, give it more, promote it, or roll it back. Pure decisions.

Only what a version itself does counts: its faults, and how long calls wait for it. What targets did
counts in paired mode alone, where both versions saw the same ones. Differences are judged by Newcombe's
interval for two proportions (1998, method 10), which is made of two Wilson intervals, so that a few calls
prove little and many prove much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.evidence import CallCounts, Evidence, Histogram, Pairs, bucket_of, quantile_ns
from contracts.functions import Deployment, Rollout

LEAST_FAULTS = 3
ENOUGH_CALLS = 20
"""Calls that tell how long calls wait, and after which a version without a proven fault may go on."""
PATIENCE_S = 60.0
"""How long a version may take to become ready, and to clear itself of a fault."""
LINGER_S = 10.0
"""How much longer than asked a step lasts while there are jobs, but few of them for the new version."""
SHORT_LIVES = 3
"""Lives in a row of one worker's place that end a rollout."""

_Z = 3.0
"""Quantile of the normal distribution: wide intervals, since they are looked at after every call."""
_MARGIN = 0.01
_WAIT_FACTOR = 2
_WAIT_MARGIN_NS = 100_000_000
_SLOW_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class Weight:
    """Go to this step."""

    step: int
    reason: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Make the new version the deployed one."""

    reason: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """Keep the old version."""

    reason: str


Verdict = Wait | Weight | Promote | RollBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the new version is, as one Anchor sees it.

    `nodes` should run it, `ready` do; `broken` tells per node why it cannot. `old_runs`: whether the old
    version has a worker anywhere. `watched_s`: how long this Anchor has seen the rollout at this step, by
    its own clock; `calls`: how many calls ended meanwhile; `informed`: whether it has heard of all nodes.
    """

    nodes: frozenset[str] = frozenset()
    ready: frozenset[str] = frozenset()
    broken: Mapping[str, str] = field(default_factory=dict)
    old_runs: bool = True
    watched_s: float = 0.0
    calls: int = 0
    informed: bool = True


def decide(deployment: Deployment, seen: Evidence, standing: Standing) -> Verdict:
    """Decide on the rollout that a deployment has under way."""
    rollout = deployment.rollout
    assert rollout is not None
    for node, reason in sorted(standing.broken.items()):
        return RollBack(f"{node}: {reason}")
    against = _against(deployment, rollout, seen)
    if against is not None:
        return RollBack(against)
    if not standing.informed:
        return Wait("this Anchor has just started")
    if rollout.weight == 0.0:
        return _begin(standing)
    return _go_on(rollout, seen, standing)


def _against(deployment: Deployment, rollout: Rollout, seen: Evidence) -> str | None:
    old, new = seen.old, seen.new
    if more_faults(old, new):
        return (
            f"{new.faults} of {new.calls} calls ended with a fault ({new.last_fault}); "
            f"with {deployment.version} {old.faults} of {old.calls}"
        )
    if longer_waits(old.wait, new.wait):
        return (
            f"calls wait longer: 9 of 10 less than {_ms(quantile_ns(new.wait, 0.9))}; "
            f"with {deployment.version} {_ms(quantile_ns(old.wait, 0.9))}"
        )
    if rollout.strategy.paired and fails_more(seen.pairs):
        codes = ", ".join(sorted(seen.pairs.new_codes))
        return (
            f"of {seen.pairs.seen} jobs run on both versions {seen.pairs.only_new_failed} failed on the new one alone "
            f"({codes}), {seen.pairs.only_old_failed} on the old one alone"
        )
    return None


def _ms(duration_ns: int | None) -> str:
    return "?" if duration_ns is None else f"{duration_ns / 1e6:.3g} ms"


def _begin(standing: Standing) -> Verdict:
    missing = sorted(standing.nodes - standing.ready)
    if not standing.nodes and not standing.old_runs:
        return Promote("no node is there that should run it")
    if missing or not standing.nodes:
        told = ", ".join(missing) or "any node"
        if standing.watched_s >= PATIENCE_S:
            return RollBack(f"not ready on {told} within {PATIENCE_S:g} s")
        return Wait(f"not ready on {told}")
    count = len(standing.nodes)
    ready = f"ready on {count} {'node' if count == 1 else 'nodes'}"
    return Weight(0, ready) if standing.old_runs else Promote(f"{ready}, and nothing else runs")


def _go_on(rollout: Rollout, seen: Evidence, standing: Standing) -> Verdict:
    new, held = seen.new, standing.watched_s - rollout.strategy.hold_s
    if held < 0:
        return Wait("the step is not over")
    told = f"{new.calls} calls, {new.faults} faults"
    tried = min(new.calls, seen.pairs.seen) if rollout.strategy.paired else new.calls
    if new.faults and new.calls < ENOUGH_CALLS:
        if held < PATIENCE_S:
            return Wait(f"{told}: too few to tell")
        return RollBack(f"{told} ({new.last_fault}): too few to tell, and no more came")
    if standing.calls and tried < ENOUGH_CALLS and held < (LINGER_S if tried else PATIENCE_S):
        return Wait(f"{told}: more are awaited")
    step = rollout.step + 1
    return Weight(step, told) if step < len(rollout.strategy.steps) else Promote(told)


# --- statistics --------------------------------------------------------------------------------------------


def wilson(count: int, of: int, z: float = _Z) -> tuple[float, float]:
    """The interval of a proportion (Wilson 1927); everything is possible when nothing was seen."""
    if of == 0:
        return 0.0, 1.0
    share, square = count / of, z * z / of
    middle = share + square / 2
    reach = z * math.sqrt(share * (1 - share) / of + square / (4 * of))
    return max(0.0, (middle - reach) / (1 + square)), min(1.0, (middle + reach) / (1 + square))


def surplus(new: tuple[int, int], old: tuple[int, int], z: float = _Z) -> float:
    """By how much the new proportion (count, of) is larger than the old one, at the least."""
    if new[1] == 0:
        return -1.0
    share, before = new[0] / new[1], old[0] / old[1] if old[1] else 0.0
    lower, upper = wilson(*new, z)[0], wilson(*old, z)[1]
    return share - before - math.sqrt((share - lower) ** 2 + (upper - before) ** 2)


def more_faults(old: CallCounts, new: CallCounts) -> bool:
    """Whether the new version faults more often, beyond chance."""
    return new.faults >= LEAST_FAULTS and surplus((new.faults, new.calls), (old.faults, old.calls)) > _MARGIN


def longer_waits(old: Histogram, new: Histogram) -> bool:
    """Whether more than a tenth of the new version's calls wait far longer than nine in ten of the old one's."""
    of_old, of_new = sum(old.values()), sum(new.values())
    usual = quantile_ns(old, 0.9)
    if usual is None or min(of_old, of_new) < ENOUGH_CALLS:
        return False
    limit = bucket_of(_WAIT_FACTOR * usual + _WAIT_MARGIN_NS)
    slow_old, slow_new = (sum(n for bucket, n in one.items() if bucket > limit) for one in (old, new))
    return surplus((slow_new, of_new), (slow_old, of_old)) > _SLOW_SHARE


def fails_more(pairs: Pairs) -> bool:
    """Whether, where only one version failed to measure, it was the new one more often than by chance."""
    apart = pairs.only_new_failed + pairs.only_old_failed
    return wilson(pairs.only_new_failed, apart)[0] > 0.5
