"""A function and a node join a loaded network."""

from pathlib import Path

import pytest

from tests.kit.scenario import named, played


@pytest.mark.timeout(180)
def test_a_new_function_and_a_new_node_serve_within_two_seconds_and_restart_nothing(tmp_path: Path) -> None:
    told = played("hot-plug", tmp_path)
    assert len(named(told, "announced to first job served")) >= 3
    assert {check["bound"] for check in named(told, "announced to first job served")} == {2.0}
    assert named(told, "processes restarted")
    assert told["served"]["steady"] > 100
