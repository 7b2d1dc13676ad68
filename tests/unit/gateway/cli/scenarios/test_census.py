from __future__ import annotations

import os
from pathlib import Path

from gateway.cli.scenarios import census

NOBODY = 2**22 + 1
"""Over the largest pid there can be."""


def test_this_process_holds_something_and_has_an_age() -> None:
    assert (census.memory_mib(os.getpid()) or 0) > 1
    assert (census.descriptors(os.getpid()) or 0) >= 3
    assert census.age_s(os.getpid()) > 0
    assert census.alive(os.getpid())


def test_who_is_gone_holds_nothing() -> None:
    assert census.memory_mib(NOBODY) is None
    assert census.descriptors(NOBODY) is None
    assert census.age_s(NOBODY) == 0.0
    assert not census.alive(NOBODY)


def test_shares_are_those_of_the_time_between() -> None:
    before, after = census.Processor(10, 100, 500, 1000), census.Processor(60, 200, 750, 2000)
    assert census.busy_share(before, after) == 0.5
    assert census.waiting_share(before, after) == 0.25
    assert census.busy_share(before, before) == census.waiting_share(before, before) == 0.0


def test_no_process_belongs_to_a_folder_that_nobody_names(tmp_path: Path) -> None:
    assert census.processes_of(tmp_path / "net") == {}
