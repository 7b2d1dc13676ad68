"""How a command runs its coroutine: with a client, with one error instead of a group of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from gateway.cli import settings
from gateway.cli.client import Client
from gateway.cli.exits import Exit, sole
from gateway.cli.session import Session

T = TypeVar("T")

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The gateway. Default: MMN_URL, else the last login, else the network on this machine.",
        show_default=False,
    ),
]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; the first cause of a failed group is raised, Ctrl-C ends with 130."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    except BaseExceptionGroup as group:
        raise sole(group) from group


def converse(url: str | None, talk: Callable[[Client], Awaitable[T]]) -> T:
    """Run something that talks to the gateway."""

    async def work() -> T:
        async with Client(Session(settings.load(), url)) as client:
            return await talk(client)

    return run(work())
