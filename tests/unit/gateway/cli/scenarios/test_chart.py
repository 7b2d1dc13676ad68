from __future__ import annotations

from gateway.cli.scenarios import chart
from gateway.cli.scenarios.timeline import Kind, Mark


def mark(at: float, kind: Kind, lane: str = "anchor1", text: str = "") -> Mark:
    return Mark(at=at, lane=lane, kind=kind, text=text)


def lane(*marks: Mark, span: float = 30.0) -> str:
    """The lane of anchor1, thirty columns wide."""
    lines = chart.draw(marks, {}, span=span, width=30 + len("anchor1") + 2 + 14)
    return next(line for line in lines if line.startswith("anchor1")).removeprefix("anchor1  ")


def test_a_lane_shows_what_was_done_and_how_it_went_on() -> None:
    drawn = lane(mark(0, "ready"), mark(10, "kill"), mark(12, "start"), mark(15, "ready"))
    assert drawn == "●━━━━━━━━━✖ ○┄┄●━━━━━━━━━━━━━━"


def test_a_stopped_process_is_there_and_does_nothing() -> None:
    assert lane(mark(0, "ready"), mark(3, "stop"), mark(6, "shown"), mark(9, "continue")) == "●━━‖╌╌!╌╌▶" + "━" * 20


def test_of_several_marks_in_one_place_the_gravest_is_drawn_and_the_last_counts_after() -> None:
    drawn = lane(mark(0, "ready"), mark(10.1, "kill"), mark(10.3, "start"), mark(10.9, "ready"))
    assert drawn == "●━━━━━━━━━✖━━━━━━━━━━━━━━━━━━━"


def test_a_mark_at_the_very_end_is_in_the_last_column() -> None:
    assert lane(mark(0, "ready"), mark(30.0, "kill"))[29] == "✖"


def test_jobs_a_second_are_bars_with_the_largest_told() -> None:
    times = [0.5] * 8 + [10.5] * 4
    lines = chart.draw([], {"nap": times}, span=20.0, width=20 + len("nap jobs/s") + 2 + 14)
    drawn = next(line for line in lines if line.startswith("nap jobs/s"))
    assert drawn == "nap jobs/s  █         ▄           most 8/s"


def test_nothing_served_is_no_bar_at_all() -> None:
    assert chart.bars([0.0, 0.0, 0.0]) == "   "
    assert chart.bars([0.001, 1.0]) == "▁█"


def test_the_axis_counts_whole_seconds_that_fit() -> None:
    assert chart.axis(40, 20.0) == "0         5         10        15        20 s"
    assert chart.axis(40, 600.0).split() == ["0", "120", "240", "360", "480", "600", "s"]


def test_only_marks_with_a_text_are_told() -> None:
    told = chart.told([mark(1.5, "kill", text="killed by SIGKILL"), mark(2.0, "ready")])
    assert told == ["   1.50 s  ✖ anchor1: killed by SIGKILL"]


def test_every_kind_of_mark_has_a_sign_and_a_rank() -> None:
    assert set(chart.RANK) == set(chart.SIGNS)
    assert len(set(chart.SIGNS.values())) == len(chart.SIGNS)


def test_a_narrow_terminal_still_gets_a_chart() -> None:
    assert chart.draw([mark(0, "ready")], {"nap": [0.1]}, span=0.0, width=10)
