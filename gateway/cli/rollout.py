"""A rollout in a terminal: what is asked for, how far it is, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from contracts import clock
from contracts.errors import InvalidField
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop

_POLL_S = 0.25


def query(*, canary: str | None, hold: float | None, paired: bool, at_once: bool) -> list[tuple[str, str]]:
    """The query of an upload; `canary` are percents such as `10,50`. Raises InvalidField."""
    asked: list[tuple[str, str]] = []
    try:
        asked += [("steps", str(float(word) / 100)) for word in canary.split(",")] if canary is not None else []
    except ValueError:
        raise InvalidField("canary", f"must be percents such as 10,50, not {canary!r}") from None
    if hold is not None:
        asked.append(("hold", str(hold)))
    return asked + [(name, "true") for name, wanted in (("paired", paired), ("at_once", at_once)) if wanted]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a rollout ended: the deployment since, and the last step, whose `what` and `reason` say why."""

    deployment: Mapping[str, Any]
    step: Mapping[str, Any]

    @property
    def promoted(self) -> bool:
        """Whether the new version took over."""
        return bool(self.step["what"] == "promoted")

    @property
    def told(self) -> str:
        """The end in one sentence."""
        version, function = self.step["version"], self.deployment["function"]
        what = "was superseded" if self.step["what"] == "superseded" else "was rolled back"
        return f"{function} {version} {what}: {self.step['reason']}; {self.deployment['version']} goes on"


def ending_of(deployment: Mapping[str, Any], rollout: str) -> Mapping[str, Any] | None:
    """The step that ended a rollout, or None while it is under way. Pure."""
    under_way = deployment.get("rollout") or {}
    if under_way.get("id") == rollout:
        return None
    steps = [step for step in deployment.get("history") or [] if step.get("rollout") == rollout]
    if steps and steps[-1]["what"] in {"promoted", "rolled-back", "superseded"}:
        found: Mapping[str, Any] = steps[-1]
        return found
    return {"what": "superseded", "version": rollout, "reason": "so much was deployed since that its end is forgotten"}


async def until_over(
    client: Client, deployment: Mapping[str, Any], *, within: float, show: Callable[[str], None]
) -> Ending:
    """Wait for the end of the rollout that a deployment has. Raises Stop when time is up."""
    rollout = deployment["rollout"]
    strategy = rollout["strategy"]
    within += strategy["hold_s"] * len(strategy["steps"])
    until_ns = clock.monotonic_ns() + int(within * 1e9)
    while True:
        told = await client.get(f"/functions/{deployment['function']}")
        step = ending_of(told["deployment"], rollout["id"])
        if step is not None:
            return Ending(told["deployment"], step)
        show(progress(told))
        if clock.monotonic_ns() > until_ns:
            name = f"{deployment['function']} {rollout['version']}"
            hint = f"follow it by `mmn functions show {deployment['function']}`"
            raise Stop(Exit.UNAVAILABLE, f"the rollout of {name} is not over after {within:g} s", hint)
        await asyncio.sleep(_POLL_S)


def progress(told: Mapping[str, Any]) -> str:
    """How far a rollout is, in one line. Pure."""
    deployment = told["deployment"]
    rollout = deployment["rollout"]
    text = f"{deployment['function']} {rollout['version']}: {share(rollout)}"
    seen = told.get("comparison")
    if seen is None or not rollout["weight"]:
        return text
    pairs = seen.get("pairs")
    if pairs:
        apart = f"failed on {seen['new']['version']} alone {pairs['only_new_failed']}"
        return f"{text}; {pairs['seen']} jobs on both, {pairs['alike']} alike, {apart}"
    sides = (f"{side['version']} {side['calls']} calls, {side['faults']} faults" for side in (seen["new"], seen["old"]))
    return "; ".join([text, *sides])


def share(rollout: Mapping[str, Any]) -> str:
    """The share of jobs that a version on its way has."""
    if not rollout["weight"]:
        return "starting"
    what = "of jobs run on both" if rollout["strategy"]["paired"] else "of jobs"
    return f"{100 * rollout['weight']:g} % {what}"
