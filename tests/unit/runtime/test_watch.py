"""Processor time, averaged over a window."""

import os

from runtime.watch import Share, cpu_ns

S = 1_000_000_000


def test_the_average_is_told_once_a_window_has_passed() -> None:
    share = Share(3.0)
    assert [share.take(second * S, second * S // 2) for second in range(5)] == [None, None, None, 0.5, 0.5]


def test_a_short_peak_is_averaged_and_forgotten() -> None:
    share = Share(4.0)
    used = [0, 0, 2, 2, 2, 2, 2, 2, 2]
    found = [share.take(second * S, seconds * S) for second, seconds in enumerate(used)]
    assert found[4] == 0.5
    assert found[-1] == 0.0


def test_a_late_look_still_divides_by_the_time_that_passed() -> None:
    share = Share(2.0)
    share.take(0, 0)
    assert share.take(10 * S, 5 * S) == 0.5


def test_the_time_a_process_used_is_read_and_none_of_one_that_is_gone() -> None:
    assert (cpu_ns(os.getpid()) or 0) > 0
    assert cpu_ns(2**22 + 1) is None
