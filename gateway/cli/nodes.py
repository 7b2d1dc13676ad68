"""`mmn nodes`: who measures; hosts join and are cut off, leave work for a while, start their workers anew."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from rich.status import Status

from contracts.membership import Invite, Revoke
from gateway.cli import access, authorship, joining, render, runner
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop
from gateway.cli.up import Labels, labels

_POLL_S = 0.2
_FEW = 40

app = typer.Typer(help="Nodes: list, invite, join, revoke, drain, resume, restart.", invoke_without_command=True)
Name = Annotated[str, typer.Argument(metavar="NODE", help="The node's id.")]
Within = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait at most.")]


def trouble(told: Mapping[str, Any]) -> str:
    """One trouble in full: where, which version, and the reason in the node's own words."""
    return f"{told['version']} on {told['node']}: {told['reason']}"


def troubles(told: Iterable[Mapping[str, Any]]) -> str | None:
    """Troubles in a cell of a table: the first words of each reason, and where or of what it is told."""
    where: dict[str, list[str]] = {}
    for one in told:
        what = str(one.get("node") or f"{one['function']} {one['version']}")
        found = where.setdefault(re.split("[:;]", str(one["reason"]), maxsplit=1)[0][:_FEW], [])
        if what not in found:
            found.append(what)
    return (
        "; ".join(f"{reason} {'of' if ' ' in names[0] else 'on'} {', '.join(names)}" for reason, names in where.items())
        or None
    )


_COLUMNS: tuple[render.Column, ...] = (
    ("node", lambda node: node["node"]),
    ("state", lambda node: node["state"]),
    ("version", lambda node: node.get("version")),
    ("labels", lambda node: node.get("labels") or None),
    ("workers", lambda node: ", ".join(f"{name} {count}" for name, count in node["workers"].items()) or None),
    ("heard", lambda node: f"{node['age_s']:.1f} s ago" if node.get("age_s") is not None else None),
    ("problems", lambda node: troubles(node["troubles"])),
)


@app.callback()
def nodes(context: typer.Context, url: runner.Url = None, _output: render.Output = None) -> None:
    """Nodes of the network; bare `mmn nodes` lists them.

    Examples:
        mmn nodes
        mmn nodes drain n2
        mmn nodes resume n2
        mmn nodes restart n2 latency-ping
        mmn nodes invite fra1 --label site=fra
        mmn nodes revoke fra1
    """
    context.obj = url
    if context.invoked_subcommand is None:
        listing(context)


@app.command("list")
def listing(context: typer.Context, url: runner.Url = None, _output: render.Output = None) -> None:
    """List the nodes, their workers, and what does not run as it should."""
    told = runner.converse(url or context.obj, lambda client: client.get("/nodes"))
    render.rows(told, _COLUMNS, empty="no node is there")


@app.command()
def invite(
    context: typer.Context,
    node: Name,
    label: Labels = None,
    valid: access.Valid = 3600,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Let one host join as a node. Prints a token that works once; whoever has it can join.

    Examples:
        mmn nodes invite fra1 --label site=fra --label asn=64500
    """
    wish = Invite(kind="node", name=node, labels=labels(label or []), valid_s=valid)
    access.invited(url or context.obj, wish, "mmn nodes join")


@app.command()
def join(
    context: typer.Context,
    token: access.Token,
    folder: access.Folder = None,
    start: Annotated[
        bool, typer.Option("--start/--no-start", help="Become the node's runtime at once, or only write its settings.")
    ] = True,
    name: Annotated[str, typer.Option("--name", help="Refuse a token for any other node.")] = "",
    author: Annotated[
        list[str] | None,
        typer.Option(
            "--author",
            metavar="KEY",
            help="Run only bundles of this author; repeat it. Default: of those whom the network trusts today.",
            show_default=False,
        ),
    ] = None,
    url: runner.Url = None,
) -> None:
    """Join as a node, on the host that is to be it: its keys are made here and never leave.

    Examples:
        mmn nodes join mmn-join-... --url https://mmn.example.net
        MMN_CA=ca.crt mmn nodes join mmn-join-...@https://192.0.2.1:8443
    """
    trusted = authorship.named(author or [])
    told, place = runner.run(
        joining.join(url or context.obj, token, kind="node", folder=folder, name=name, authors=trusted)
    )
    render.note(f"runs bundles of the authors in {place / authorship.AUTHORS_FILE}, which is this node's own list")
    render.note(f"joined as node {told.name}; keys and settings in {place}")
    render.note(f"start it again by: (set -a; . {place / joining.ENV_FILE}; exec python -m runtime)")
    if start:
        joining.start(told, place)


@app.command()
def revoke(context: typer.Context, node: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """Cut off a node and all its workers, at once and for good.

    Examples:
        mmn nodes revoke fra1
    """
    access.revoked(url or context.obj, Revoke(kind="node", name=node))


@app.command()
def drain(
    context: typer.Context,
    node: Name,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until its workers have finished.")] = True,
    within: Within = 660.0,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Take a node out of work: it takes no job more, finishes those it has, and stays so until it is resumed.

    Jobs that are pinned to it wait for that, or for their deadline.
    """

    async def work(client: Client) -> Mapping[str, Any]:
        told: Mapping[str, Any] = await client.post(f"/nodes/{node}/drain", {"on": True})
        if wait:
            await _finished(client, node, within)
        return told

    told = runner.converse(url or context.obj, work)
    _say(told, f"{node} is drained: nothing runs on it" if wait else f"{node} is draining")


async def _finished(client: Client, node: str, within: float) -> None:
    with Status(f"{node}: its workers finish what they have", console=render.stderr()) as status:
        try:
            async with asyncio.timeout(within):
                while left := await _workers(client, node):
                    status.update(f"{node}: {left} of its workers finish what they have")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Stop(Exit.UNAVAILABLE, f"{node} is not drained after {within:g} s", "it goes on draining") from None


async def _workers(client: Client, node: str) -> int:
    told = next((one for one in await client.get("/nodes") if one["node"] == node), None)
    return sum(told["workers"].values()) if told is not None else 0


@app.command()
def resume(context: typer.Context, node: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """Let a drained node work again."""
    told = runner.converse(url or context.obj, lambda client: client.post(f"/nodes/{node}/drain", {"on": False}))
    _say(told, f"{node} works again")


@app.command()
def restart(
    context: typer.Context,
    node: Name,
    function: Annotated[str | None, typer.Argument(help="Only of this function.", show_default=False)] = None,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Replace a node's workers, each by a ready one; what was given up is tried anew."""
    told = runner.converse(
        url or context.obj, lambda client: client.post(f"/nodes/{node}/restart", {"function": function})
    )
    _say(told, f"{node} replaces its workers" + (f" of {function}" if function else ""))


def _say(told: Mapping[str, Any], line: str) -> None:
    if render.json_wanted():
        render.dump(told)
    else:
        print(line)
