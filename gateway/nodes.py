"""Nodes and their troubles, read off the instances that are there. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from contracts.modules import State, Trouble
from gateway.registry import Module


class NodeView(Struct, frozen=True, kw_only=True):
    """A node: its runtime's state and version, and how many workers of each function are there.

    `workers` counts those that work and those that still finish; `troubles` are what the node says that does not
    run as it should. `age_s` is the time since its last heartbeat.
    """

    node: str
    state: State
    version: str | None
    labels: dict[str, str]
    age_s: float | None
    workers: dict[str, int]
    troubles: list[Trouble]


class Problem(Struct, frozen=True, kw_only=True):
    """Why a function does not run on a node as it should. `given_up`: the node waits for a restart or a new version."""

    node: str
    version: str
    reason: str
    given_up: bool


def nodes(modules: Iterable[Module]) -> list[NodeView]:
    """Every node whose runtime is there, or was a moment ago."""
    known = list(modules)
    return [
        NodeView(
            node=one.instance,
            state=one.state,
            version=one.version,
            labels=one.labels,
            age_s=one.age_s,
            workers=_workers(known, one.instance),
            troubles=_troubles(one),
        )
        for one in known
        if one.kind == "runtime"
    ]


def _workers(modules: Iterable[Module], node: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in modules:
        if one.kind == "worker" and one.node == node and one.state != "down" and one.function is not None:
            counts[one.function] = counts.get(one.function, 0) + 1
    return counts


def _troubles(runtime: Module) -> list[Trouble]:
    # What a node said before it went silent is not known to be true any more.
    return list(runtime.health.troubles) if runtime.health is not None and runtime.state != "down" else []


def problems(modules: Iterable[Module], function: str) -> list[Problem]:
    """What keeps a function from running, by node."""
    return [
        Problem(node=one.instance, version=trouble.version, reason=trouble.reason, given_up=trouble.given_up)
        for one in modules
        if one.kind == "runtime"
        for trouble in _troubles(one)
        if trouble.function == function
    ]
