"""A version is replaced under load, and broken ones are rolled back."""

from pathlib import Path

import pytest

from tests.kit.scenario import named, played


@pytest.mark.timeout(180)
def test_a_version_is_replaced_and_broken_ones_are_rolled_back_while_no_job_fails(tmp_path: Path) -> None:
    told = played("rolling", tmp_path)
    assert len(named(told, ": rolled back")) == 3
    assert all("broken on purpose" in check["note"] for check in named(told, "the reason is shown"))
    assert named(told, "jobs that failed")[0]["measured"] == 0
    assert named(told, "jobs measured by 1.1.0")[0]["measured"] > 10
