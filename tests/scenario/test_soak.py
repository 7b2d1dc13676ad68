"""Random kills of everything for a while; `make bench` runs the ten minutes of the long form."""

from pathlib import Path

import pytest

from tests.kit.scenario import named, played


@pytest.mark.timeout(240)
def test_after_random_kills_results_equal_accepted_jobs_and_nothing_has_leaked(tmp_path: Path) -> None:
    told = played("soak", tmp_path, within=230.0)
    assert {check["name"] for check in named(told, "kills: ")} == {
        f"kills: {kind}" for kind in ("worker", "runtime", "anchor", "gateway", "nats-server")
    }
    assert named(told, "jobs accepted")[0]["measured"] > 100
    assert named(told, "descriptors")
    assert named(told, "consumers")
