"""`mmn functions`: what the network can measure, and where that is deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gateway.cli import render, rollout, runner
from gateway.cli.nodes import trouble, troubles

app = typer.Typer(
    help="Functions: list, show, enable, disable, scale, restart, promote, rollback, delete.",
    invoke_without_command=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The function's name.")]


def _deployment(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found = told.get("deployment", told)
    assert isinstance(found, Mapping)
    return found


def _on_its_way(told: Mapping[str, Any]) -> str:
    under_way = _deployment(told).get("rollout")
    return f"{under_way['version']}, {rollout.share(under_way)}" if under_way else ""


_COLUMNS: tuple[render.Column, ...] = (
    ("function", lambda told: _deployment(told)["function"]),
    ("version", lambda told: _deployment(told)["version"]),
    ("enabled", lambda told: _deployment(told)["enabled"]),
    ("workers", lambda told: _deployment(told)["workers"]),
    ("nodes", lambda told: render.text(_deployment(told).get("match") or "all")),
    ("up", lambda told: told["up"]),
    ("on its way", _on_its_way),
    ("problems", lambda told: troubles(told.get("problems") or [])),
    ("summary", lambda told: (_deployment(told).get("manifest") or {}).get("summary")),
)


@app.callback()
def functions(context: typer.Context, url: runner.Url = None, _output: render.Output = None) -> None:
    """Functions of the network; bare `mmn functions` lists them.

    Examples:
        mmn functions
        mmn functions show latency-ping
        mmn functions scale echo 2
        mmn functions restart echo
        mmn functions delete echo
        mmn functions rollback echo
    """
    context.obj = url
    if context.invoked_subcommand is None:
        listing(context)


@app.command("list")
def listing(context: typer.Context, url: runner.Url = None, _output: render.Output = None) -> None:
    """List the deployed functions."""
    told = runner.converse(url or context.obj, lambda client: client.get("/functions"))
    render.rows(told, _COLUMNS, empty="no functions; deploy one by `mmn deploy DIR`")


@app.command()
def show(context: typer.Context, name: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """Show one function: its parameters, where it runs, its earlier versions."""
    told = runner.converse(url or context.obj, lambda client: client.get(f"/functions/{name}"))
    if render.json_wanted():
        render.dump(told)
        return
    console, wish = render.stdout(), _deployment(told)
    manifest = wish.get("manifest") or {}
    console.print(f"[bold]{escape(wish['function'])}[/] {wish['version']}: {escape(manifest.get('summary') or '')}")
    state = "enabled" if wish["enabled"] else "disabled"
    where = render.text(wish.get("match") or "all nodes")
    console.print(f"{state}, {wish['workers']} workers on {escape(where)}, needs {render.text(manifest.get('needs'))}")
    console.print(f"{escape(signed(wish))} (sha256 {wish['digest'][:12]})")
    if wish.get("rollout"):
        console.print(f"on its way: {escape(rollout.progress(told))}")
    if wish.get("history"):
        console.print(history(wish["history"]))
    if told.get("card"):
        console.print(parameters(told["card"]["params_schema"]))
    else:
        render.note("no node has run this version yet, so its parameters are not known")
    for problem in told.get("problems") or []:
        end = "; start it anew by: mmn functions restart " + wish["function"] if problem["given_up"] else ""
        console.print(f"[red]problem:[/] {escape(trouble(problem) + end)}")
    for one in told.get("instances") or []:
        reason = f" ({one['reason']})" if one.get("reason") else ""
        console.print(f"{one.get('instance')} {one.get('state')}{escape(reason)}")


def signed(wish: Mapping[str, Any]) -> str:
    """Who signed and who uploaded the deployed version."""
    upload = (wish.get("uploads") or {}).get(wish["digest"])
    if upload is None:
        return "not signed, so no node runs it"
    return f"signed by {upload['signature']['author']}, uploaded by {upload['by']} at {upload['at']}"


def parameters(schema: Mapping[str, Any]) -> Table:
    """The parameters of a function as a table, from its JSON Schema."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    shape = schema.get("$defs", {}).get(name, schema)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("parameter", "type", "default", "limits", "what"):
        table.add_column(head)
    required = set(shape.get("required", []))
    for key, rule in shape.get("properties", {}).items():
        default = "required" if key in required else render.text(rule.get("default"))
        kind = " | ".join(map(str, rule["enum"])) if "enum" in rule else render.text(rule.get("type"))
        limits = [f"{short} {rule[word]}" for word, short in _LIMITS.items() if word in rule]
        table.add_row(*map(escape, (key, kind, default, ", ".join(limits), str(rule.get("description", "")))))
    return table


def history(steps: Sequence[Mapping[str, Any]]) -> Table:
    """What became of each version, the newest first."""
    table = Table(box=None, pad_edge=False, header_style="bold", title="history", title_justify="left")
    for head in ("when", "version", "what", "why", "by"):
        table.add_column(head)
    for step in reversed(steps):
        what = f"{100 * step['weight']:g} % of jobs" if step["what"] == "weight" else step["what"]
        table.add_row(*map(escape, (step["at"], step["version"], what, step["reason"], step["by"])))
    return table


_LIMITS = {"minimum": "from", "maximum": "to", "maxLength": "length to", "maxItems": "items to"}


def _changed(told: Any) -> None:
    if render.json_wanted():
        render.dump(told)
        return
    wish = _deployment(told)
    state = "enabled" if wish["enabled"] else "disabled"
    print(f"{wish['function']} {wish['version']} is {state} with {wish['workers']} workers a node")


@app.command()
def enable(context: typer.Context, name: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """Let nodes run a function again."""
    _changed(runner.converse(url or context.obj, lambda client: client.post(f"/functions/{name}/enable")))


@app.command()
def disable(context: typer.Context, name: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """Stop a function everywhere; jobs under way are finished, queued ones wait until it is enabled or their deadline."""
    _changed(runner.converse(url or context.obj, lambda client: client.post(f"/functions/{name}/disable")))


@app.command()
def scale(
    context: typer.Context,
    name: Name,
    workers: Annotated[int, typer.Argument(metavar="N", min=0, max=64, help="Worker processes on each node.")],
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Change how many workers of a function each node runs."""
    body = {"workers": workers}
    _changed(runner.converse(url or context.obj, lambda client: client.post(f"/functions/{name}/scale", body)))


@app.command()
def promote(context: typer.Context, name: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """End a rollout: the new version takes over now."""
    _changed(runner.converse(url or context.obj, lambda client: client.post(f"/functions/{name}/promote")))


@app.command()
def rollback(
    context: typer.Context,
    name: Name,
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="An earlier version.", show_default=False)
    ] = None,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """End a rollout in favour of the old version, or go back to the version before."""
    _changed(runner.converse(url or context.obj, lambda client: client.post(f"/functions/{name}/rollback", to=to)))
