"""`mmn scenario` itself: the list, wrong names, and an end that leaves nothing behind."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import MMN, environment, mmn, wait_until_gone


def test_every_scenario_is_listed_with_a_sentence(tmp_path: Path) -> None:
    listed = mmn("scenario", "-o", "json", state=tmp_path).json()
    assert {"hot-plug", "fault-isolation", "scale-out", "backpressure", "rolling", "soak"} == {
        item["name"] for item in listed
    }
    assert all(item["shows"].endswith(".") for item in listed)


def test_a_scenario_that_there_is_not_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    ran = mmn("scenario", "hot-plugs", state=tmp_path)
    assert ran.code == 2
    assert "hot-plug, " in ran.err


@pytest.mark.timeout(120)
def test_an_interrupted_scenario_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary, console = tmp_path / "temporary", tmp_path / "console"
    temporary.mkdir()
    with console.open("wb") as file:
        process = subprocess.Popen(
            [*MMN, "scenario", "hot-plug"],
            env=environment(tmp_path) | {"TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        eventually_sync(lambda: "jobs/s of `steady`" in console.read_text() or process.poll() is not None, within=60)
        process.send_signal(signal.SIGINT)
        assert process.wait(45) == 130, console.read_text()
    finally:
        process.kill()
        process.wait()
    assert "did not come to its end" in console.read_text()
    wait_until_gone(temporary)
    assert list(temporary.iterdir()) == []
