"""`mmn up` watches over its processes: what dies comes back, what has to end ends."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from gateway.cli.embedded import find_server
from tests.kit.eventually import eventually_sync
from tests.kit.network import RunningNetwork, mmn, processes_of, wait_until_gone

pytestmark = pytest.mark.timeout(150)


def works(network: RunningNetwork) -> bool:
    ran = network.mmn("run", "echo", "text=still here", "--deadline", "20")
    return ran.code == 0 and "still here" in ran.out


def replaced(network: RunningNetwork, role: str, node: str | None) -> None:
    """Kill a process and wait until another one has taken its place."""
    old = network.kill(role, node)
    eventually_sync(lambda: network.pid(role, node) not in {None, old}, within=20)


def test_whatever_is_killed_comes_back(own_network: RunningNetwork) -> None:
    """One after the other, each with a new pid in the stack file; addresses stay what they were."""
    before = own_network.stack()
    for role, node in (("anchor", None), ("gateway", None), ("nats-server", None), ("runtime", "n1")):
        replaced(own_network, role, node)
        eventually_sync(lambda: works(own_network), within=40)
    after = own_network.stack()
    assert after["gateway"] == before["gateway"]
    assert after["nats"] == before["nats"]
    assert own_network.process.poll() is None
    assert "was killed by SIGKILL; starting it again" in own_network.console.read_text()


def test_a_stopped_network_comes_back_as_it_was(own_network: RunningNetwork) -> None:
    """Same NATS address, same keys, same functions."""
    before = own_network.stack()
    assert own_network.stop() == 0
    assert not processes_of(own_network.folder)
    assert not (own_network.folder / "stack.json").exists()
    own_network.start_again()
    after = own_network.stack()
    assert after["nats"] == before["nats"]
    assert after["credentials"] == before["credentials"]
    eventually_sync(lambda: works(own_network), within=40)


def test_nothing_outlives_a_killed_mmn(own_network: RunningNetwork) -> None:
    """SIGKILL leaves no time to stop anything, so the kernel has to."""
    os.kill(own_network.process.pid, signal.SIGKILL)
    own_network.process.wait(10)
    wait_until_gone(own_network.folder)


def test_what_cannot_start_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    """A setting that the Anchor refuses ends `mmn up` after five attempts, and nothing stays."""
    ran = mmn("up", "--dir", str(tmp_path / "net"), "--port", "0", state=tmp_path, MMN_ANCHOR_COLOUR="red")
    assert ran.code == 4
    assert "anchor1 does not stay up: 5 short lives in a row" in ran.err
    assert "MMN_ANCHOR_COLOUR" in ran.err
    wait_until_gone(tmp_path / "net")


def test_a_nats_server_of_ones_own_is_used(tmp_path: Path) -> None:
    """`mmn server-config` prints what it needs; `mmn up --nats-url` starts the rest."""
    folder, config = tmp_path / "net", tmp_path / "server.conf"
    printed = mmn("server-config", "--dir", str(folder), "--port", "-1", state=folder)
    assert printed.code == 0, printed
    config.write_text(printed.out)
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen([find_server(), "-c", str(config)], stdout=log, stderr=log)
    try:
        (ports,) = eventually_sync(lambda: list((folder / "nats").glob(f"*_{server.pid}.ports")), within=10)
        url = eventually_sync(lambda: str(json.loads(ports.read_text())["nats"][0]), within=10)
        with RunningNetwork(folder, "--nats-url", url) as network:
            assert network.stack()["nats"]["url"] == url
            assert network.stack()["pids"]["nats-server"] == []
            assert network.mmn("modules").code == 0
        assert server.poll() is None
    finally:
        server.terminate()
        server.wait(10)
