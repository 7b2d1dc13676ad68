from __future__ import annotations

import math

import pytest

from gateway.cli.scenarios import figures


def test_no_values_have_no_median_that_holds_a_bound() -> None:
    assert math.isinf(figures.median([]))
    assert math.isinf(figures.percentile([], 0.99))


def test_a_percentile_is_one_of_the_values() -> None:
    assert figures.percentile([5.0, 1.0, 3.0, 2.0, 4.0], 0.5) == 3.0
    assert figures.percentile([1.0, 2.0], 1.0) == 2.0


@pytest.mark.parametrize(
    ("shares", "told"),
    [({"a": 10, "b": 10}, 0.0), ({"a": 12, "b": 8}, 0.2), ({"a": 30, "b": 0, "c": 0}, 2.0)],
)
def test_the_share_farthest_from_even_counts(shares: dict[str, int], told: float) -> None:
    assert figures.uneven(shares) == pytest.approx(told)


def test_nothing_served_is_not_even() -> None:
    assert math.isinf(figures.uneven({"a": 0, "b": 0}))
    assert math.isinf(figures.uneven({}))


def test_a_level_that_swings_does_not_grow() -> None:
    assert figures.growth([10.0, 12.0, 10.0] * 10) == 0.0


def test_a_leak_grows_and_a_spike_does_not() -> None:
    assert figures.growth([float(step) for step in range(30)]) == 20.0
    assert figures.growth([10.0] * 14 + [90.0] + [10.0] * 15) == 0.0
    assert figures.growth([1.0, 2.0]) == 0.0


def test_a_rate_counts_what_happened_around_a_moment() -> None:
    assert figures.rates([0.5, 1.5, 2.5, 3.5], 4, 4.0) == [1.0, 1.0, 1.0, 1.0]
    assert figures.rates([0.1, 0.2, 0.3], 2, 2.0) == [3.0, 0.0]


def test_a_pace_is_not_moved_by_a_wave_more_or_less() -> None:
    waves = [wave * 0.1 for wave in range(20) for _ in range(16)]
    assert figures.pace(waves) == pytest.approx(160.0, rel=0.01)
    assert figures.pace(waves[16:]) == pytest.approx(160.0, rel=0.01)
    assert figures.pace([1.0, 1.0]) == 0.0
