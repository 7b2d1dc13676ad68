"""`mmn modules`: who is there; external modules, which are workers in any language, join and are cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from contracts.membership import Invite, Revoke
from gateway.cli import access, joining, render, runner
from gateway.cli.nodes import troubles

app = typer.Typer(help="Modules: list, invite, join, revoke.", invoke_without_command=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The module's id: lower-case letters and digits.")]
Function = Annotated[str | None, typer.Option("--function", help="Only of this function.", show_default=False)]

_COLUMNS: tuple[render.Column, ...] = (
    ("instance", lambda module: module["instance"]),
    ("kind", lambda module: module["kind"]),
    ("state", lambda module: module["state"]),
    ("node", lambda module: module.get("node")),
    ("function", lambda module: module.get("function")),
    ("version", lambda module: module.get("version")),
    ("labels", lambda module: module.get("labels") or None),
    ("box", lambda module: module.get("box")),
    ("egress", lambda module: module.get("egress")),
    ("jobs", lambda module: _health(module, "done")),
    ("faults", lambda module: _health(module, "faults")),
    ("problems", lambda module: troubles(_health(module, "troubles") or []) or module.get("reason") or None),
)


def _health(module: Any, name: str) -> Any:
    return (module.get("health") or {}).get(name)


def open_by_node(told: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What the box of each node leaves open, as its newest worker says."""
    return {module["node"]: module["gaps"] for module in told if module.get("gaps") and module["state"] != "down"}


@app.callback()
def modules(
    context: typer.Context, function: Function = None, url: runner.Url = None, _output: render.Output = None
) -> None:
    """Who is there: workers, runtimes, Anchors, gateways; bare `mmn modules` lists them.

    Examples:
        mmn modules --function latency-ping
        mmn modules invite lab1 my-probe
    """
    context.obj = url
    if context.invoked_subcommand is None:
        told = runner.converse(url, lambda client: client.get("/modules", function=function))
        render.rows(told, _COLUMNS, empty="nobody is there")
        if not render.json_wanted():
            for node, gaps in open_by_node(told).items():
                render.note(f"node {node}, open to its workers: {'; '.join(gaps)}")


@app.command()
def invite(
    context: typer.Context,
    name: Name,
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="The function that it serves.")],
    valid: access.Valid = 3600,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Let one external module join: a worker in any language that follows contracts/spec.

    Examples:
        mmn modules invite lab1 my-probe
    """
    wish = Invite(kind="module", name=name, function=function, valid_s=valid)
    access.invited(url or context.obj, wish, "mmn modules join")


@app.command()
def join(context: typer.Context, token: access.Token, folder: access.Folder = None, url: runner.Url = None) -> None:
    """Join as an external module: writes nats.creds, ca.crt and membership.json, which names its instance.

    Examples:
        mmn modules join mmn-join-... --dir lab1
    """
    told, place = runner.run(joining.join(url or context.obj, token, kind="module", folder=folder))
    render.note(f"joined as instance {told.instance} of {told.function}; credentials in {place}")


@app.command()
def revoke(context: typer.Context, name: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """Cut off an external module, at once and for good.

    Examples:
        mmn modules revoke lab1
    """
    access.revoked(url or context.obj, Revoke(kind="module", name=name))
