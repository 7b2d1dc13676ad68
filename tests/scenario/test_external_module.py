"""A module that shares no code with the network joins it, serves jobs like any bundle, and is cut off."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import external_module
from tests.kit.eventually import eventually_sync
from tests.kit.network import RunningNetwork, finished, mmn


@pytest.mark.timeout(120)
def test_a_module_in_plain_nats_joins_serves_and_is_cut_off(network: RunningNetwork, tmp_path: Path) -> None:
    invited = network.mmn("module", "invite", "lab1", "word-count", "-o", "json").json()
    folder = tmp_path / "lab1"
    joined = mmn("module", "join", invited["token"], "--dir", str(folder), state=tmp_path / "elsewhere")
    assert joined.code == 0, joined
    with (tmp_path / "log").open("wb") as log:
        program = [sys.executable, "-P", str(Path(external_module.__file__)), str(folder)]
        module = subprocess.Popen(program, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:

        def up() -> bool:
            assert module.poll() is None, (tmp_path / "log").read_text()
            return [one["state"] for one in network.api.get("/modules?function=word-count").json()] == ["up"]

        eventually_sync(up, within=30)
        asked = network.api.post("/jobs", json={"function": "word-count", "params": {"text": "one two three"}})
        assert asked.status_code == 202, asked.text
        counted = finished(network.api, asked.json()["job"])
        assert (counted["data"], counted["node"], counted["failure"]) == ({"words": 3}, "lab1", None)
        wrong = network.api.post("/jobs", json={"function": "word-count", "params": {"text": 5}})
        assert wrong.status_code == 400, "its own schema is checked before it is asked"
        assert network.mmn("module", "revoke", "lab1").code == 0
        # A stock client is closed for good by the server's word.
        assert module.wait(10) is not None
        eventually_sync(lambda: not up_states(network), within=30)
    finally:
        module.kill()
        module.wait()
    again = mmn("module", "join", invited["token"], "--dir", str(folder), state=tmp_path / "elsewhere")
    assert "was used already" in again.err


def up_states(network: RunningNetwork) -> list[str]:
    told = network.api.get("/modules?function=word-count").json()
    return [one["instance"] for one in told if one["state"] == "up"]
