"""More workers, more jobs a second."""

from pathlib import Path

import pytest

from tests.kit.scenario import named, played


@pytest.mark.timeout(180)
def test_throughput_grows_with_the_workers_and_every_worker_has_its_share(tmp_path: Path) -> None:
    told = played("scale-out", tmp_path)
    assert len(named(told, "as a multiple of linear")) == 3
    assert all(check["bound"] == 0.2 for check in named(told, "share farthest from even"))
    (side,) = told["tables"]
    assert [row[0] for row in side["rows"]] == ["1", "2", "4", "8"]
