"""`mmn watch`: what happens in the network now."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from gateway.cli import render, runner
from gateway.cli.client import Client, Frame
from gateway.cli.jobs import line

TOPICS = ["results", "events", "progress", "modules"]


def watch(
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            "-t",
            help="results, events, progress, modules (these by default), health, logs; repeat it.",
            show_default=False,
        ),
    ] = None,
    job: Annotated[str | None, typer.Option("--job", help="Only of this job.", show_default=False)] = None,
    function: Annotated[
        str | None, typer.Option("--function", help="Only of this function.", show_default=False)
    ] = None,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Follow the live feed until Ctrl-C; after an interruption it goes on where it was cut off.

    Examples:
        mmn watch
        mmn watch -t health -t logs
        mmn watch -t results -o json | jq .data.failure
    """

    async def work(client: Client) -> None:
        async with aclosing(client.follow(topic or TOPICS, job=job, function=function)) as frames:
            async for frame in frames:
                show(frame)

    runner.converse(url, work)


def show(frame: Frame) -> None:
    """Print a frame: a line an item, or what was missed."""
    if frame.type == "gap":
        render.note(f"some {frame.topic} were left out ({frame.reason})")
    for item in frame.items:
        if render.json_wanted():
            # One object a line, so that a pipe can read it as it comes.
            print(msgspec.json.encode(item).decode(), flush=True)
        else:
            render.stdout().print(f"[dim]{item.topic:8}[/] {escape(line(item.topic, item.data))}")
