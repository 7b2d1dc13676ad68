"""`mmn deploy`: bring a function onto the nodes, and see what becomes of it there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import nkeys
import typer
from msgspec import Struct
from rich.status import Status

from contracts import clock
from gateway.cli import authorship, build, keys, render, rollout, runner, settings
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop
from gateway.cli.up import labels

_POLL_S = 0.1
_SETTLE_S = 3.0
"""A node that failed to start a worker tries again; after this long its failure is what it is."""

Bundle = Annotated[Path, typer.Argument(metavar="DIR|WHEEL", help="A bundle folder, or a wheel made from one.")]


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a deployment on one node."""

    node: str
    state: Literal["ready", "starting", "failed"]
    workers: int
    reason: str = ""


def outcomes(modules: Iterable[Mapping[str, Any]], deployment: Mapping[str, Any]) -> list[Outcome]:
    """Each node that should run the deployment, and how far it is. Pure."""
    listed = list(modules)
    wanted = int(deployment.get("workers", 1)) if deployment.get("enabled", True) else 0
    match = deployment.get("match") or {}
    found: list[Outcome] = []
    for node in listed:
        if node["kind"] != "runtime" or node["state"] == "down":
            continue
        has = node.get("labels") or {}
        if wanted == 0 or any(has.get(key) != value for key, value in match.items()):
            continue
        found.append(_outcome(node.get("node") or node["instance"], listed, deployment, wanted))
    return sorted(found, key=lambda outcome: outcome.node)


def _outcome(node: str, modules: Sequence[Mapping[str, Any]], deployment: Mapping[str, Any], wanted: int) -> Outcome:
    mine = [
        module
        for module in modules
        if module["kind"] == "worker"
        and module.get("node") == node
        and module.get("function") == deployment["function"]
        and module.get("digest") == deployment["digest"]
    ]
    ready = [module for module in mine if module.get("last_event") == "ready" and module["state"] in {"starting", "up"}]
    if len(ready) >= wanted:
        # A ready worker has a reason when its node lacks what the function needs to measure.
        return Outcome(node=node, state="ready", workers=len(ready), reason=str(ready[-1].get("reason") or ""))
    failed = [module for module in mine if module.get("last_event") == "failed"]
    if failed:
        return Outcome(node=node, state="failed", workers=len(ready), reason=str(failed[-1].get("reason") or ""))
    return Outcome(node=node, state="starting", workers=len(ready))


async def upload(
    client: Client,
    wheel: tuple[str, bytes],
    *,
    workers: int | None = None,
    match: Mapping[str, str] | None = None,
    way: Sequence[tuple[str, str]] = (),
    key: nkeys.KeyPair,
) -> dict[str, Any]:
    """Sign and upload a wheel, given with its name. Returns the deployment as the gateway tells it."""
    name, data = wheel
    query = [("filename", name), *way]
    if match is not None:
        query += [("match", f"{key}={value}") for key, value in match.items()] or [("match", "")]
    if workers is not None:
        query.append(("workers", str(workers)))
    told = await client.upload("/bundles", data, query, signature=authorship.signed(data, key))
    return dict(told)


async def until_settled(
    client: Client, deployment: Mapping[str, Any], *, within: float, show: Callable[[list[Outcome]], None]
) -> list[Outcome]:
    """Wait until every node is ready or has failed for good. Raises Stop when time is up."""
    failing_since: int | None = None
    seen: list[Outcome] = []
    try:
        async with asyncio.timeout(within):
            while True:
                seen = outcomes(await client.get("/modules"), deployment)
                show(seen)
                open_ones = [outcome for outcome in seen if outcome.state != "ready"]
                if not open_ones:
                    return seen
                if any(outcome.state == "starting" for outcome in open_ones):
                    failing_since = None
                else:
                    failing_since = failing_since or clock.monotonic_ns()
                    if clock.monotonic_ns() - failing_since > _SETTLE_S * 1e9:
                        return seen
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        late = ", ".join(outcome.node for outcome in seen if outcome.state != "ready")
        name = deployment["function"]
        raise Stop(Exit.UNAVAILABLE, f"{name} is not ready after {within:g} s", f"still waiting for {late}") from None


def deploy(
    bundle: Bundle,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, max=64, help="Worker processes on each node.", show_default=False),
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            "--match", metavar="K=V", help="Only nodes with this label; repeat it. '' is all nodes.", show_default=False
        ),
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(
            "--canary",
            metavar="P,P",
            help="Percent of jobs that a new version gets, step by step. Default: 10,50.",
            show_default=False,
        ),
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option("--hold", min=0, max=86400, help="Seconds each step lasts. Default: 2.", show_default=False),
    ] = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="Run jobs on both versions and compare before the new one takes over.")
    ] = False,
    at_once: Annotated[bool, typer.Option("--at-once", help="Replace the running version without steps.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the nodes have started it.")] = True,
    within: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds to wait at most, the holds of steps not counted.")
    ] = 90.0,
    key: keys.Key = None,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Deploy a function: build it, sign it, upload it, wait until the nodes run it.

    A new version of what runs takes over step by step, and is rolled back by itself when it is worse.

    Examples:
        mmn deploy functions/latency-ping
        mmn deploy my_probe-1.0.0-py3-none-any.whl --match site=fra
        mmn deploy functions/latency-ping --canary 5,25,50 --hold 60
    """
    # An empty one takes the labels away that an earlier deployment asked for.
    wanted = None if match is None else labels([word for word in match if word])
    way = rollout.query(canary=canary, hold=hold, paired=paired, at_once=at_once)
    code = runner.converse(
        url, lambda client: _deploy(client, bundle, workers, wanted, way, within=within if wait else None, key=key)
    )
    if code is not Exit.OK:
        raise typer.Exit(code)


async def _deploy(
    client: Client,
    bundle: Path,
    workers: int | None,
    match: Mapping[str, str] | None,
    way: Sequence[tuple[str, str]],
    *,
    within: float | None,
    key: Path | None,
) -> Exit:
    ending: rollout.Ending | None = None
    seen: list[Outcome] = []
    with Status(f"uploading {bundle}", console=render.stderr()) as status:
        wheel = await build.wheel(bundle)
        own = authorship.read(authorship.find(settings.load(), client.url, key))
        deployment = await upload(client, wheel, workers=workers, match=match, way=way, key=own)
        if within is not None and deployment.get("rollout"):
            ending = await rollout.until_over(client, deployment, within=within, show=status.update)
            deployment = dict(ending.deployment)
        name = f"{deployment['function']} {deployment['version']}"

        def show(seen: list[Outcome]) -> None:
            ready = sum(outcome.state == "ready" for outcome in seen)
            status.update(f"{name}: ready on {ready} of {len(seen)} nodes")

        if within is not None and (ending is None or ending.promoted):
            seen = await until_settled(client, deployment, within=within, show=show)
    failed = any(outcome.state == "failed" for outcome in seen) or (ending is not None and not ending.promoted)
    if render.json_wanted():
        render.dump({"deployment": deployment, "nodes": seen, "rollout": ending.step if ending else None})
    elif ending is not None and not ending.promoted:
        render.note(ending.told)
    else:
        _tell(deployment, seen, waited=within is not None)
    return Exit.NOT_MEASURED if failed else Exit.OK


def _tell(deployment: Mapping[str, Any], seen: Sequence[Outcome], *, waited: bool) -> None:
    name, under_way = deployment["function"], deployment.get("rollout")
    if under_way:
        print(f"{name} {under_way['version']} is on its way; follow it by `mmn functions show {name}`")
        return
    print(f"{name} {deployment['version']} is deployed (sha256 {str(deployment['digest'])[:12]})")
    if waited and not seen:
        render.note("no node is there that should run it; it starts when one comes")
    for outcome in seen:
        workers = "1 worker" if outcome.workers == 1 else f"{outcome.workers} workers"
        print(f"  {outcome.node}: {outcome.state}" + (f", {outcome.reason}" if outcome.reason else f", {workers}"))
