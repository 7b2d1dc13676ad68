"""Whatever is killed or stopped under load: people see it, others go on, no job is lost."""

from pathlib import Path

import pytest

from tests.kit.scenario import named, played


@pytest.mark.timeout(180)
def test_whatever_is_killed_or_stopped_is_shown_and_costs_no_job_of_any_function(tmp_path: Path) -> None:
    told = played("fault-isolation", tmp_path)
    (killed,) = named(told, "worker killed: shown after")
    assert killed["bound"] == 1.0
    for hung in ("worker stopped: shown", "runtime stopped: shown", "Anchor stopped: shown"):
        assert named(told, hung)[0]["bound"] == 5.0
    assert named(told, "calm: jobs that failed")[0]["measured"] == 0
    marks = {(mark["lane"].split()[0], mark["kind"]) for mark in told["timeline"]}
    assert {("nats-server", "kill"), ("anchor1", "kill"), ("anchor2", "stop"), ("runtime", "stop")} <= marks
