from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.stack import FIRST_WAIT_S, GiveUp, Restart, after_exit, tail_of


def test_a_first_death_is_followed_by_a_start_at_once() -> None:
    assert after_exit([0.2]) == Restart(FIRST_WAIT_S)


def test_the_wait_doubles_with_each_short_life() -> None:
    waits = [after_exit([0.1] * lives) for lives in range(1, 5)]
    assert waits == [Restart(0.1), Restart(0.2), Restart(0.4), Restart(0.8)]


def test_five_short_lives_in_a_row_are_the_end() -> None:
    assert after_exit([60.0, *[1.0] * 5]) == GiveUp(5)


def test_a_long_life_wipes_the_slate() -> None:
    assert after_exit([1.0] * 4 + [60.0]) == Restart(FIRST_WAIT_S)
    assert after_exit([1.0] * 4 + [60.0, 1.0]) == Restart(FIRST_WAIT_S)


def test_the_wait_has_a_bound() -> None:
    assert after_exit([0.0] * 50, limit=100) == Restart(5.0)


def test_the_end_of_a_log_is_short(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("\n".join(str(number) for number in range(1000)) + "\n")
    assert tail_of(log).split() == ["995", "996", "997", "998", "999"]


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_or_missing_log_is_told(tmp_path: Path, content: str | None) -> None:
    log = tmp_path / "a.log"
    if content is not None:
        log.write_text(content)
    assert tail_of(log).strip().startswith("(")
