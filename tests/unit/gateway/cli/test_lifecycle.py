from typing import Any

import pytest

from gateway.cli.lifecycle import renewed
from gateway.cli.nodes import trouble, troubles

ASKED = {"node": "n1", "before": ["n1_old"], "refused": None}
LOOP = {"node": "n1", "version": "1.0.0", "reason": "crash loop: 5 lives", "given_up": True}


def module(instance: str, event: str = "ready", state: str = "up") -> dict[str, Any]:
    return {"kind": "worker", "node": "n1", "instance": instance, "last_event": event, "state": state}


@pytest.mark.parametrize(
    ("asked", "modules", "problems", "state", "ready"),
    [
        (ASKED, [module("n1_old")], [], "waiting", 0),
        (ASKED, [module("n1_old", "draining", "draining"), module("n1_a")], [], "waiting", 1),
        (ASKED, [module("n1_a"), module("n1_b")], [], "ready", 2),
        (ASKED, [module("n1_a"), {**module("n2_b"), "node": "n2"}], [], "waiting", 1),
        (ASKED, [module("n1_a"), module("n1_b", "failed", "down")], [], "waiting", 1),
        (ASKED, [module("n1_b", "failed", "down")], [LOOP], "failed", 0),
        (ASKED, [module("n1_old", "failed", "down")], [LOOP], "waiting", 0),
        (ASKED, [module("n1_b", "failed", "down")], [{**LOOP, "node": "n2"}], "waiting", 0),
        ({**ASKED, "refused": "no runtime answers"}, [], [], "failed", 0),
    ],
    ids=["old", "one new", "all new", "other node", "tries again", "given up", "old trouble", "elsewhere", "refused"],
)
def test_a_restart_is_done_when_new_workers_are_ready(
    asked: dict[str, Any], modules: list[dict[str, Any]], problems: list[dict[str, Any]], state: str, ready: int
) -> None:
    seen = renewed(asked, modules, problems, 2)
    assert (seen.state, seen.ready) == (state, ready)


def test_a_trouble_names_what_and_where() -> None:
    assert trouble(LOOP) == "1.0.0 on n1: crash loop: 5 lives"


def test_a_cell_tells_equal_troubles_once() -> None:
    assert troubles([LOOP, {**LOOP, "node": "n2"}, {**LOOP, "node": "n3", "reason": "killed by signal 9"}]) == (
        "crash loop on n1, n2; killed by signal 9 on n3"
    )
    of_node = {"function": "echo", "version": "1.0.0", "reason": "crash loop: 5 lives", "given_up": True}
    assert troubles([of_node, {**of_node, "function": "ping"}]) == "crash loop of echo 1.0.0, ping 1.0.0"
    assert troubles([]) is None
