import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import clock


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_time_survives_its_text_to_the_microsecond(at: int) -> None:
    assert clock.epoch_ns(clock.rfc3339(at)) == at // 1000 * 1000


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        clock.epoch_ns("2026-01-02T03:04:05")


def test_the_kernel_tells_how_good_its_clock_is() -> None:
    quality = clock.clock_quality()
    assert quality.source in {"kernel", "unknown"}
    if not quality.synchronised:
        assert quality.offset_ns is None
        assert quality.error_ns is None
