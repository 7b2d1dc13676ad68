from __future__ import annotations

import pytest

from gateway.cli.scenarios.checks import Must, figure, holds, judge, verdict


@pytest.mark.parametrize(
    ("measured", "must", "bound", "ok"),
    [
        (1.0, "at most", 1.0, True),
        (1.1, "at most", 1.0, False),
        (0.9, "at least", 0.9, True),
        (0.8, "at least", 0.9, False),
        (0, "exactly", 0, True),
        (1, "exactly", 0, False),
        (float("inf"), "at most", 1.0, False),
        (float("inf"), "at least", 1.0, False),
        (float("inf"), "shown", None, True),
        (12.0, "shown", None, True),
    ],
)
def test_a_figure_is_judged_by_its_bound(measured: float, must: Must, bound: float | None, *, ok: bool) -> None:
    assert judge("x", measured, must, bound, "s").ok is ok


def test_what_could_not_be_measured_is_unknown_and_not_infinite() -> None:
    assert judge("x", float("inf"), "at most", 1.0, "s").measured is None


def test_figures_that_are_only_shown_prove_nothing() -> None:
    shown = judge("shown", 1.0, "shown", None, "s")
    assert not holds([])
    assert not holds([shown])
    assert holds([shown, judge("x", 1.0, "at most", 2.0, "s")])


def test_the_verdict_names_what_does_not_hold() -> None:
    good, bad = judge("good", 1.0, "at most", 2.0, "s"), judge("bad", 3.0, "at most", 2.0, "s")
    assert verdict("soak", [good, bad]) == "soak: 1 of 2 checks do not hold: bad"
    assert verdict("soak", [good]) == "soak: all 1 checks hold"
    assert verdict("soak", []) == "soak: nothing was checked"


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [(0.04567, "s", "0.0457 s"), (3.0, "", "3"), (123.456, "ms", "123 ms"), (None, "s", "-")],
)
def test_a_figure_is_told_as_short_as_it_is_exact(value: float | None, unit: str, told: str) -> None:
    assert figure(value, unit) == told
