"""What a list of measured values comes down to. Pure; durations are seconds unless a name says otherwise."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence


def median(values: Iterable[float]) -> float:
    """The middle value; infinite when there is none, so that no bound holds by accident."""
    found = list(values)
    return statistics.median(found) if found else float("inf")


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of all does not exceed; infinite when there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")


def uneven(shares: Mapping[str, int]) -> float:
    """How far the share that differs most is from the even one: 0 when all are equal."""
    if not shares or not sum(shares.values()):
        return float("inf")
    even = sum(shares.values()) / len(shares)
    return max(abs(count - even) for count in shares.values()) / even


def pace(times: Iterable[float]) -> float:
    """Events a second, as the slope of their count over time: a wave more or less at either end hardly counts."""
    ordered = sorted(times)
    if len(ordered) < 3 or ordered[0] == ordered[-1]:
        return 0.0
    return statistics.linear_regression(ordered, range(len(ordered))).slope


def growth(samples: Sequence[float]) -> float:
    """How much a level rose, from the median of the first third of its samples to that of the last third."""
    third = len(samples) // 3
    return statistics.median(samples[-third:]) - statistics.median(samples[:third]) if third else 0.0


def rates(times: Iterable[float], bins: int, span: float, *, over: float = 1.0) -> list[float]:
    """Events a second at equal steps of 0 to `span`, each counted over `over` seconds around its step."""
    ordered, half, found = sorted(times), over / 2, list[float]()
    for step in range(bins):
        at = (step + 0.5) * span / bins
        since, until = max(0.0, at - half), min(span, at + half)
        found.append((bisect_left(ordered, until) - bisect_left(ordered, since)) / (until - since))
    return found
