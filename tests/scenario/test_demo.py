"""`mmn demo`: a whole network from nothing to results, and nothing left behind."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import MMN, environment, mmn, processes_of, wait_until_gone


@pytest.mark.timeout(150)
def test_the_demo_measures_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Also where ICMP is not permitted: then the table says so, and every job still has its result."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ran = mmn("demo", "--once", state=tmp_path / "state", within=120, TMPDIR=str(temporary))
    assert ran.code == 0, ran
    rows = [line.split() for line in ran.out.splitlines()[1:]]
    assert [row[0] for row in rows][:2] == ["echo", "latency-ping"]
    assert "127.0.0.1" in ran.out
    assert "ready on n1, n2" in ran.err
    assert "every job has its result" in ran.err
    wait_until_gone(tmp_path)
    assert list(temporary.iterdir()) == []


@pytest.mark.timeout(150)
def test_where_icmp_is_not_permitted_the_demo_tells_how_to_permit_it(tmp_path: Path) -> None:
    """Each job that could be sent still has its result."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to take the privilege away")
    if Path("/proc/sys/net/ipv4/ping_group_range").read_text().split() != ["1", "0"]:
        pytest.skip("ping sockets are open to this group, so ICMP cannot be forbidden")
    dropped = ("setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw")
    ran = mmn("demo", "--once", "--nodes", "1", "--dir", str(tmp_path), state=tmp_path, within=120, through=dropped)
    assert "net.ipv4.ping_group_range" in ran.err
    assert "hello from mmn" in ran.out
    assert "no-privilege" in ran.out
    assert ran.code == 0, ran
    wait_until_gone(tmp_path)


@pytest.mark.timeout(150)
def test_the_demo_keeps_running_until_it_is_interrupted(tmp_path: Path) -> None:
    """With --dir the network stays on disk, and a second terminal can use it meanwhile."""
    folder, console = tmp_path / "net", tmp_path / "console"
    with console.open("wb") as file:
        demo = subprocess.Popen(
            [*MMN, "demo", "--dir", str(folder), "--nodes", "1"],
            env=environment(tmp_path / "state"),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        eventually_sync(lambda: "keeps running" in console.read_text() or demo.poll() is not None, within=90)
        assert demo.poll() is None, console.read_text()
        assert (folder / "password").read_text() in console.read_text()
        ran = mmn("run", "echo", "text=from another terminal", state=folder)
        assert ran.code == 0, ran
        assert "from another terminal" in ran.out
        demo.send_signal(signal.SIGINT)
        assert demo.wait(45) == 0
    finally:
        demo.kill()
        demo.wait()
    assert not processes_of(folder)
    assert not (folder / "stack.json").exists()


@pytest.mark.timeout(90)
def test_a_demo_that_is_interrupted_early_says_that_results_are_missing(tmp_path: Path) -> None:
    """An interrupted start stops what was started."""
    folder, console = tmp_path / "net", tmp_path / "console"
    with console.open("wb") as file:
        demo = subprocess.Popen(
            [*MMN, "demo", "--once", "--dir", str(folder)],
            env=environment(tmp_path / "state"),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        eventually_sync(lambda: "starting Anchor" in console.read_text(), within=30)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(45) == 130, console.read_text()
    finally:
        demo.kill()
        demo.wait()
    assert "not every job has its result" in console.read_text()
    wait_until_gone(folder)
