"""`mmn functions restart` and `mmn functions delete`: begin anew, and end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import typer
from msgspec import Struct
from rich.status import Status

from gateway.cli import render, runner
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop
from gateway.cli.functions import Name

_POLL_S = 0.2


class Renewed(Struct, frozen=True, kw_only=True):
    """How far a node is with new workers: `ready` of `wanted`, and why not if they fail."""

    node: str
    state: Literal["waiting", "ready", "failed"]
    ready: int
    wanted: int
    reason: str = ""


def renewed(
    asked: Mapping[str, Any], modules: Sequence[Mapping[str, Any]], problems: Sequence[Mapping[str, Any]], wanted: int
) -> Renewed:
    """What a node that was asked to restart has done so far. `before` in `asked` are the instances that shall go."""
    node = str(asked["node"])
    if asked.get("refused"):
        return Renewed(node=node, state="failed", ready=0, wanted=wanted, reason=str(asked["refused"]))
    mine = [one for one in modules if one["kind"] == "worker" and one.get("node") == node]
    fresh = [one for one in mine if one["instance"] not in asked["before"]]
    ready = sum(one.get("last_event") == "ready" and one["state"] in {"starting", "up"} for one in fresh)
    if ready >= wanted:
        return Renewed(node=node, state="ready", ready=ready, wanted=wanted)
    hopeless = next((one["reason"] for one in problems if one["node"] == node and one["given_up"]), None)
    if hopeless is not None and any(one.get("last_event") == "failed" for one in fresh):
        return Renewed(node=node, state="failed", ready=ready, wanted=wanted, reason=str(hopeless))
    return Renewed(node=node, state="waiting", ready=ready, wanted=wanted)


def restart(
    context: typer.Context,
    name: Name,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the new workers are ready.")] = True,
    within: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait at most.")] = 60.0,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Replace a function's workers on all nodes, each by a ready one; what was given up is tried anew."""

    async def work(client: Client) -> list[Renewed]:
        asked = await client.post(f"/functions/{name}/restart")
        return await _until_renewed(client, name, asked, within) if wait else [renewed(one, [], [], 1) for one in asked]

    seen = runner.converse(url or context.obj, work)
    if render.json_wanted():
        render.dump(seen)
    elif not seen:
        render.note("no node is there that should run it")
    else:
        for one in seen:
            told = {"ready": f"{one.ready} new workers are ready", "failed": f"failed, {one.reason}"}
            print(f"{one.node}: {told.get(one.state, 'replaces its workers')}")
    if any(one.state == "failed" for one in seen):
        raise typer.Exit(Exit.NOT_MEASURED)


async def _until_renewed(client: Client, name: str, asked: Sequence[Mapping[str, Any]], within: float) -> list[Renewed]:
    seen: list[Renewed] = []
    with Status(f"{name}: new workers start", console=render.stderr()) as status:
        try:
            async with asyncio.timeout(within):
                while True:
                    told = await client.get(f"/functions/{name}")
                    wanted = int(told["deployment"]["workers"])
                    seen = [renewed(one, told["instances"], told["problems"], wanted) for one in asked]
                    if all(one.state != "waiting" for one in seen):
                        return seen
                    counts = ", ".join(f"{one.node} {one.ready} of {one.wanted}" for one in seen)
                    status.update(f"{name}: new workers that are ready: {counts}")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            late = ", ".join(one.node for one in seen if one.state == "waiting")
            raise Stop(
                Exit.UNAVAILABLE, f"{name} is not restarted after {within:g} s", f"still waiting for {late}"
            ) from None


def delete(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Delete a function: its workers end, its queued jobs are closed. Results stay."""
    if not yes:
        typer.confirm(f"Delete {name}, end its workers everywhere and close its queued jobs?", abort=True, err=True)
    runner.converse(url or context.obj, lambda client: client.delete(f"/functions/{name}"))
    if render.json_wanted():
        render.dump({"function": name, "deleted": True})
    else:
        print(f"{name} is deleted")
