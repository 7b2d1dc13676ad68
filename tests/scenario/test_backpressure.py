"""Five times what a function can do, for a while."""

from pathlib import Path

import pytest

from tests.kit.scenario import named, played


@pytest.mark.timeout(180)
def test_overload_is_refused_with_retry_after_and_others_do_not_notice(tmp_path: Path) -> None:
    told = played("backpressure", tmp_path)
    assert named(told, "refused for a full queue")[0]["measured"] > 100
    assert named(told, "queue: most jobs at once")[0]["bound"] == 100
    assert named(told, "slowed worker: its share as part of that")[0]["bound"] < 1
    assert named(told, "memory: most that a process grew")
