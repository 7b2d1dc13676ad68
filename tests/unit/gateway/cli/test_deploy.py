from __future__ import annotations

from typing import Any

from gateway.cli.deploy import Outcome, outcomes

DIGEST = "a" * 64
DEPLOYMENT = {"function": "echo", "version": "1.0.0", "digest": DIGEST, "workers": 1, "enabled": True, "match": {}}


def node(name: str, **labels: str) -> dict[str, Any]:
    return {"instance": name, "kind": "runtime", "state": "up", "node": name, "labels": labels}


def worker(node: str, event: str = "ready", **more: Any) -> dict[str, Any]:
    base = {"kind": "worker", "state": "up", "function": "echo", "digest": DIGEST, "reason": ""}
    return base | {"instance": f"{node}_1", "node": node, "last_event": event} | more


def test_a_node_is_ready_when_its_workers_are() -> None:
    assert outcomes([node("n1"), worker("n1")], DEPLOYMENT) == [Outcome(node="n1", state="ready", workers=1)]


def test_a_node_with_too_few_workers_is_starting() -> None:
    (found,) = outcomes([node("n1"), worker("n1")], DEPLOYMENT | {"workers": 2})
    assert (found.state, found.workers) == ("starting", 1)


def test_a_failed_start_tells_its_reason() -> None:
    (found,) = outcomes([node("n1"), worker("n1", "failed", state="down", reason="no module")], DEPLOYMENT)
    assert (found.state, found.reason) == ("failed", "no module")


def test_a_worker_of_another_version_does_not_count() -> None:
    (found,) = outcomes([node("n1"), worker("n1", digest="b" * 64)], DEPLOYMENT)
    assert found.state == "starting"


def test_only_nodes_with_the_labels_are_waited_for() -> None:
    seen = outcomes([node("n1", site="a"), node("n2", site="b")], DEPLOYMENT | {"match": {"site": "b"}})
    assert [found.node for found in seen] == ["n2"]


def test_a_node_that_is_down_is_not_waited_for() -> None:
    assert outcomes([node("n1") | {"state": "down"}], DEPLOYMENT) == []


def test_a_disabled_function_is_waited_for_nowhere() -> None:
    assert outcomes([node("n1")], DEPLOYMENT | {"enabled": False}) == []
