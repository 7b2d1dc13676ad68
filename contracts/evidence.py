"""What calls to the old and the new version of a function came to, counted so that counts add up.

Anchors publish what they saw of a rollout in their health; whoever holds the newest of every
source has the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from msgspec import Meta, Struct, field

from contracts.functions import Deployment, Rollout

Count = Annotated[int, Meta(ge=0)]
Histogram = dict[int, Count]
"""Durations counted in buckets of equal ratio: bucket b holds those from 2**(b/4) ns on. Histograms add up."""

_BUCKETS = 256


def bucket_of(duration_ns: int) -> int:
    """The bucket of a duration: its place among powers of the fourth root of two."""
    if duration_ns < 1:
        return 0
    whole = duration_ns.bit_length() - 1
    part = duration_ns / (1 << whole)
    quarter = (part >= 2**0.25) + (part >= 2**0.5) + (part >= 2**0.75)
    return min(_BUCKETS - 1, whole * 4 + quarter)


def quantile_ns(histogram: Mapping[int, int], share: float) -> int | None:
    """The duration below which this share lies, to within a bucket (19 %); None of an empty one."""
    total = sum(histogram.values())
    if total == 0:
        return None
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= share * total:
            return int(2 ** ((bucket + 1) / 4))
    raise AssertionError("unreachable")


def _summed(one: Mapping[int, int], other: Mapping[int, int]) -> Histogram:
    return {bucket: one.get(bucket, 0) + other.get(bucket, 0) for bucket in one.keys() | other.keys()}


class CallCounts(Struct, frozen=True, kw_only=True):
    """What calls to one version came to since its rollout began.

    `faults` are the worker's doing; `failures` were measured, and say nothing against a version that
    another has not seen the same targets with. `wait` is what a call took beyond the function's own time.
    """

    calls: Count = 0
    faults: Count = 0
    failures: Count = 0
    last_fault: str = ""
    wait: Histogram = field(default_factory=dict)
    run: Histogram = field(default_factory=dict)

    def __add__(self, other: CallCounts) -> CallCounts:
        """The two together."""
        return CallCounts(
            calls=self.calls + other.calls,
            faults=self.faults + other.faults,
            failures=self.failures + other.failures,
            last_fault=self.last_fault or other.last_fault,
            wait=_summed(self.wait, other.wait),
            run=_summed(self.run, other.run),
        )


class Pairs(Struct, frozen=True, kw_only=True):
    """Jobs that both versions ran: how often they measured alike, and how often only one failed to.

    `old_codes` and `new_codes` count measured failures by code; `old_run` and `new_run` how long they took.
    """

    seen: Count = 0
    alike: Count = 0
    only_old_failed: Count = 0
    only_new_failed: Count = 0
    old_codes: dict[str, Count] = field(default_factory=dict)
    new_codes: dict[str, Count] = field(default_factory=dict)
    old_run: Histogram = field(default_factory=dict)
    new_run: Histogram = field(default_factory=dict)

    def __add__(self, other: Pairs) -> Pairs:
        """The two together."""
        return Pairs(
            seen=self.seen + other.seen,
            alike=self.alike + other.alike,
            only_old_failed=self.only_old_failed + other.only_old_failed,
            only_new_failed=self.only_new_failed + other.only_new_failed,
            old_codes=_counted(self.old_codes, other.old_codes),
            new_codes=_counted(self.new_codes, other.new_codes),
            old_run=_summed(self.old_run, other.old_run),
            new_run=_summed(self.new_run, other.new_run),
        )


def _counted(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {code: one.get(code, 0) + other.get(code, 0) for code in one.keys() | other.keys()}


class Evidence(Struct, frozen=True, kw_only=True):
    """What one process saw of one rollout. `source` changes when the process is started anew."""

    rollout: str
    function: str
    source: str = ""
    old: CallCounts = field(default_factory=CallCounts)
    new: CallCounts = field(default_factory=CallCounts)
    pairs: Pairs = field(default_factory=Pairs)

    def __add__(self, other: Evidence) -> Evidence:
        """What both saw."""
        return Evidence(
            rollout=self.rollout,
            function=self.function,
            old=self.old + other.old,
            new=self.new + other.new,
            pairs=self.pairs + other.pairs,
        )


def merge(rollout: Rollout, function: str, seen: Iterable[Evidence]) -> Evidence:
    """All that was seen of a rollout; what speaks of another is left out."""
    total = Evidence(rollout=rollout.id, function=function)
    for evidence in seen:
        if evidence.rollout == rollout.id and evidence.function == function:
            total += evidence
    return total


class Side(Struct, frozen=True, kw_only=True):
    """One version in a comparison, in words for people. Times are None while nothing was counted."""

    version: str
    calls: int
    faults: int
    failures: int
    wait_p90_ns: int | None
    run_p50_ns: int | None


class PairedView(Struct, frozen=True, kw_only=True):
    """Jobs that both versions ran, in words for people."""

    seen: int
    alike: int
    only_old_failed: int
    only_new_failed: int
    old_codes: dict[str, int]
    new_codes: dict[str, int]
    old_run_p50_ns: int | None
    new_run_p50_ns: int | None


class Comparison(Struct, frozen=True, kw_only=True):
    """Old and new version side by side; `pairs` in paired mode."""

    old: Side
    new: Side
    pairs: PairedView | None = None


def compare(deployment: Deployment, seen: Evidence) -> Comparison | None:
    """What people see of the evidence, or None without a rollout."""
    rollout = deployment.rollout
    if rollout is None:
        return None
    pairs = seen.pairs
    return Comparison(
        old=_side(deployment.version, seen.old),
        new=_side(rollout.version, seen.new),
        pairs=PairedView(
            seen=pairs.seen,
            alike=pairs.alike,
            only_old_failed=pairs.only_old_failed,
            only_new_failed=pairs.only_new_failed,
            old_codes=pairs.old_codes,
            new_codes=pairs.new_codes,
            old_run_p50_ns=quantile_ns(pairs.old_run, 0.5),
            new_run_p50_ns=quantile_ns(pairs.new_run, 0.5),
        )
        if rollout.strategy.paired
        else None,
    )


def _side(version: str, tally: CallCounts) -> Side:
    return Side(
        version=version,
        calls=tally.calls,
        faults=tally.faults,
        failures=tally.failures,
        wait_p90_ns=quantile_ns(tally.wait, 0.9),
        run_p50_ns=quantile_ns(tally.run, 0.5),
    )
