"""What stays open to workers, told once for each node."""

from typing import Any

from gateway.cli.modules import open_by_node


def module(node: str, gaps: list[str] | None, state: str = "up") -> dict[str, Any]:
    return {"node": node, "gaps": gaps, "state": state}


def test_a_node_with_several_workers_is_told_of_once_and_one_that_is_down_not_at_all() -> None:
    told = [module("n1", ["a"]), module("n1", ["a"]), module("n2", ["b"], "down"), module("n3", []), module("n4", None)]
    assert open_by_node(told) == {"n1": ["a"]}
