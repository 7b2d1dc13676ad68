"""The life of a function's workers, from the first start to the last stop, as a person causes and sees it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import MMN, RunningNetwork, environment, finished
from tests.kit.wheels import BUNDLES, wheel_of

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[RunningNetwork]:
    with RunningNetwork(tmp_path / "net", "--nodes", "2") as running:
        yield running


class Watched:
    """`mmn watch -t modules`, and what it told of one function."""

    def __init__(self, network: RunningNetwork, seen: Path) -> None:
        self.seen = seen
        self.taken = 0
        with seen.open("wb") as file:
            self.process = subprocess.Popen(
                [*MMN, "watch", "-t", "modules", "-o", "json"], env=environment(network.folder), stdout=file
            )

    def told(self, function: str = "nap") -> list[dict[str, Any]]:
        lines = self.seen.read_text().splitlines()
        items = [json.loads(line)["data"] for line in lines if line.endswith("}")]
        return [item for item in items if item["function"] == function]

    def next(self, *steps: tuple[str, str, str]) -> list[dict[str, Any]]:
        """Wait for these steps (node, event, reason): each node's in this order, the nodes' in any."""

        def come() -> list[dict[str, Any]]:
            news = self.told()[self.taken :]
            return news if len(news) >= len(steps) else []

        news = eventually_sync(come, within=40)
        for node in {step[0] for step in steps}:
            assert [(item["node"], item["event"], item["reason"]) for item in news if item["node"] == node] == [
                step for step in steps if step[0] == node
            ]
        self.taken += len(news)
        return news

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def watched(two_nodes: RunningNetwork, tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(two_nodes, tmp_path / "seen")
    try:
        yield watched
    finally:
        watched.stop()


def both(*events: tuple[str, str]) -> list[tuple[str, str, str]]:
    return [(node, event, reason) for node in ("n1", "n2") for event, reason in events]


def wheel(folder: Path, name: str) -> str:
    path = folder / f"{name.replace('-', '_')}-1.0.0-py3-none-any.whl"
    path.write_bytes(wheel_of(BUNDLES / name))
    return str(path)


def test_a_workers_whole_life_is_told_step_by_step(two_nodes: RunningNetwork, watched: Watched, tmp_path: Path) -> None:
    mmn, api = two_nodes.mmn, two_nodes.api
    assert mmn("deploy", wheel(tmp_path, "nap")).code == 0
    watched.next(*both(("started", ""), ("ready", "")))

    restarted = mmn("functions", "restart", "nap")
    assert (restarted.code, restarted.out) == (0, "n1: 1 new workers are ready\nn2: 1 new workers are ready\n")
    watched.next(*both(("started", ""), ("ready", ""), ("draining", "restarted"), ("stopped", "restarted")))

    job = api.post("/jobs", json={"function": "nap", "params": {"seconds": 5}, "node": "n1"}).json()["job"]
    eventually_sync(lambda: api.get(f"/jobs/{job}").json()["job"]["state"] == "running", within=20)
    drained = mmn("nodes", "drain", "n1")
    assert (drained.code, drained.out) == (0, "n1 is drained: nothing runs on it\n")
    assert finished(api, job)["failure"] is None, "it finishes what it has"
    reason = "the node is draining"
    watched.next(("n1", "draining", reason), ("n1", "stopped", reason))
    pinned = api.post("/jobs", json={"function": "nap", "node": "n1"})
    assert (pinned.status_code, pinned.json()["reason"]) == (503, "node-draining")
    assert int(pinned.headers["Retry-After"]) >= 1
    assert finished(api, api.post("/jobs", json={"function": "nap"}).json()["job"])["node"] == "n2"
    nodes = {node["node"]: node for node in mmn("nodes", "-o", "json").json()}
    assert {name: (node["state"], node["workers"]) for name, node in nodes.items()} == {
        "n1": ("draining", {}),
        "n2": ("up", {"nap": 1}),
    }
    assert mmn("nodes", "resume", "n1").code == 0
    watched.next(("n1", "started", ""), ("n1", "ready", ""))

    assert api.post("/functions/nap/disable").status_code == 200
    reason = "the function is disabled"
    watched.next(*both(("draining", reason), ("stopped", reason)))
    assert api.post("/functions/nap/enable").status_code == 200
    watched.next(*both(("started", ""), ("ready", "")))

    kept = mmn("functions", "delete", "nap", text="n\n")
    assert kept.code != 0
    assert "Delete nap" in kept.err
    deleted = mmn("functions", "delete", "nap", "--yes")
    assert (deleted.code, deleted.out) == (0, "nap is deleted\n")
    reason = "the function was deleted"
    watched.next(*both(("draining", reason), ("stopped", reason)))
    assert api.post("/jobs", json={"function": "nap"}).status_code == 404
    assert api.get("/functions").json() == []


def test_a_crash_loop_is_seen_everywhere_and_a_restart_begins_anew(
    two_nodes: RunningNetwork, watched: Watched, tmp_path: Path
) -> None:
    mmn = two_nodes.mmn
    name = "crashes-at-import"
    assert mmn("deploy", wheel(tmp_path, name), "--no-wait").code == 0

    def given_up() -> bool:
        problems = two_nodes.api.get(f"/functions/{name}").json()["problems"]
        return {problem["node"] for problem in problems if problem["given_up"]} == {"n1", "n2"}

    eventually_sync(given_up, within=60)
    assert "crash loop on n1, n2" in mmn("functions").out
    shown = mmn("functions", "show", name).out
    assert "problem: 1.0.0 on n2: crash loop: 5 lives in a row" in shown
    assert f"mmn functions restart {name}" in shown
    assert f"crash loop of {name} 1.0.0" in mmn("modules").out
    assert f"crash loop of {name} 1.0.0" in mmn("nodes").out
    failures = len([item for item in watched.told(name) if item["event"] == "failed"])
    assert failures >= 10
    restarted = mmn("functions", "restart", name)
    assert restarted.code == 5
    assert "n1: failed, crash loop: 5 lives in a row" in restarted.out

    def again() -> bool:
        return len([item for item in watched.told(name) if item["event"] == "failed"]) >= failures + 10

    eventually_sync(again, within=60)
