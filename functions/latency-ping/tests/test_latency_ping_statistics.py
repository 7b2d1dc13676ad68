from __future__ import annotations

import math
import statistics as reference

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_ping import statistics

DELAYS = st.lists(st.one_of(st.none(), st.integers(0, 60_000_000_000)), max_size=60)


def test_a_known_sample_gives_the_known_numbers() -> None:
    trip = statistics.round_trip([10, 20, None, 40, 30])
    assert trip == statistics.RoundTrip(
        min_ns=10,
        mean_ns=25,
        median_ns=25,
        max_ns=40,
        stddev_ns=12,
        p5_ns=10,
        p50_ns=20,
        p95_ns=40,
        p99_ns=40,
        ipdv_mean_abs_ns=10,
        ipdv_max_abs_ns=10,
        pdv_p95_ns=30,
        pdv_p999_ns=30,
    )


@given(delays=DELAYS)
def test_statistics_agree_with_the_standard_library(delays: list[int | None]) -> None:
    seen = [delay for delay in delays if delay is not None]
    trip = statistics.round_trip(delays)
    if not seen:
        assert trip is None
        return
    assert trip is not None
    assert trip.mean_ns == pytest.approx(reference.mean(seen), abs=0.5)
    assert abs(trip.median_ns - reference.median(seen)) <= 0.5
    assert trip.min_ns <= trip.p5_ns <= trip.p50_ns <= trip.p95_ns <= trip.p99_ns <= trip.max_ns
    if len(seen) > 1:
        assert trip.stddev_ns == pytest.approx(math.sqrt(reference.variance(seen)), abs=1)
    else:
        assert trip.stddev_ns is None


@given(values=st.lists(st.integers(0, 1000), min_size=1, max_size=50), per_mille=st.integers(1, 1000))
def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(values: list[int], per_mille: int) -> None:
    values.sort()
    found = statistics.percentile(values, per_mille)
    enough = per_mille * len(values)
    assert sum(value <= found for value in values) * 1000 >= enough
    assert sum(value < found for value in values) * 1000 < enough


def test_a_lost_packet_takes_part_in_no_ipdv_pair() -> None:
    assert statistics.ipdv([5, None, 9, 4]) == [5]


def test_loss_is_unknown_when_nothing_was_decided() -> None:
    assert statistics.loss_ratio(0, 0) is None
    assert statistics.loss_ratio(4, 1) == 0.25


@pytest.mark.parametrize(
    ("arrivals", "count"),
    [([], 0), ([0, 1, 2], 0), ([0, 2, 3], 0), ([1, 0], 1), ([0, 3, 1, 2, 4], 2), ([2, 1, 0], 2)],
)
def test_reordered_are_those_that_arrive_after_a_larger_number(arrivals: list[int], count: int) -> None:
    assert statistics.reordered(arrivals) == count
