"""`mmn logs`: log lines of every process, as they come, filtered here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct
from rich.markup import escape

from gateway.cli import render, runner
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop

TOPIC = "logs"
LEVELS = ("debug", "info", "warning", "error", "critical")
_STYLES = {"warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}
_BEYOND = 2**53 - 1
"""Behind the end of any stream: the gateway answers with a gap that says where the end is."""


class Wanted(Struct, frozen=True, kw_only=True):
    """Which lines to show; None shows all."""

    instance: str | None = None
    function: str | None = None
    job: str | None = None
    level: str | None = None


def passes(told: Mapping[str, Any], wanted: Wanted, functions: Mapping[str, str]) -> bool:
    """Say whether a line is wanted. `functions` knows what an instance runs, for lines that do not say it."""
    fields: Mapping[str, Any] = told.get("fields") or {}
    who = str(told.get("instance"))
    if wanted.level is not None and told.get("level") in LEVELS[: LEVELS.index(wanted.level)]:
        return False
    # An instance that a line speaks of counts too: the Anchor and runtimes tell about workers.
    if wanted.instance is not None and wanted.instance not in {who, fields.get("instance"), fields.get("worker")}:
        return False
    if wanted.function is not None and wanted.function not in {fields.get("function"), functions.get(who)}:
        return False
    return wanted.job is None or fields.get("job") == wanted.job


def logs(
    instance: Annotated[
        str | None, typer.Option("--instance", help="Only of this instance, or about it.", show_default=False)
    ] = None,
    function: Annotated[
        str | None, typer.Option("--function", help="Only of this function.", show_default=False)
    ] = None,
    job: Annotated[str | None, typer.Option("--job", help="Only of this job.", show_default=False)] = None,
    level: Annotated[
        str | None,
        typer.Option("--level", metavar="LEVEL", help=f"This and worse: {', '.join(LEVELS)}.", show_default=False),
    ] = None,
    tail: Annotated[int, typer.Option("--tail", min=0, help="How many earlier lines to look through first.")] = 200,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with what comes.")] = True,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Show log lines of all processes, and follow them until Ctrl-C.

    Examples:
        mmn logs --level warning
        mmn logs --function latency-ping --no-follow
        mmn logs --instance n1 -o json | jq .event
    """
    if level is not None and level not in LEVELS:
        raise Stop(Exit.BAD_INPUT, "wrong input", f"--level must be one of {', '.join(LEVELS)}")
    wanted = Wanted(instance=instance, function=function, job=job, level=level)
    runner.converse(url, lambda client: _show(client, wanted, tail=tail, follow=follow))


async def _show(client: Client, wanted: Wanted, *, tail: int, follow: bool) -> None:
    incarnation, last = await _end(client)
    if not follow and not (last and tail):
        return
    functions: dict[str, str] = {}
    since = {TOPIC: [incarnation, max(0, last - tail)]}
    async with aclosing(client.follow([TOPIC], since=since)) as frames:
        async for frame in frames:
            if frame.type == "gap" and frame.reason != "expired":
                render.note(f"some lines were left out ({frame.reason})")
            for item in frame.items:
                if wanted.function is not None and item.data.get("instance") not in functions:
                    functions |= await _functions(client)
                    functions.setdefault(str(item.data.get("instance")), "")
                if passes(item.data, wanted, functions):
                    _print(item.data)
                if not follow and item.seq >= last:
                    return


async def _end(client: Client) -> Sequence[Any]:
    """Where the stream of lines ends now."""
    async with aclosing(client.follow([TOPIC], since={TOPIC: _BEYOND})) as frames:
        async for frame in frames:
            if frame.type == "gap" and frame.cursor is not None:
                cursor: Sequence[Any] = frame.cursor
                return cursor
    raise Stop(Exit.UNAVAILABLE, "the feed ended")


async def _functions(client: Client) -> dict[str, str]:
    return {one["instance"]: one.get("function") or "" for one in await client.get("/modules")}


def _print(told: Mapping[str, Any]) -> None:
    if render.json_wanted():
        # One object a line, so that a pipe can read it as it comes.
        print(msgspec.json.encode(told).decode(), flush=True)
        return
    level = str(told.get("level"))
    style = _STYLES.get(level, "default")
    fields = {key: value for key, value in (told.get("fields") or {}).items() if value not in (None, "")}
    rest = render.text(fields) if fields else ""
    render.stdout().print(
        f"[dim]{escape(str(told.get('at')))}[/] [{style}]{escape(level):8}[/] {escape(str(told.get('instance')))} "
        f"[bold]{escape(str(told.get('event')))}[/] {escape(rest)}"
    )
