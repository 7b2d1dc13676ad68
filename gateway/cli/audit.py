"""`mmn audit`: who did what."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import render, runner
from gateway.cli.client import Client

_PAGE = 500

_COLUMNS: tuple[render.Column, ...] = (
    ("at", lambda entry: entry["at"]),
    ("user", lambda entry: entry["user"]),
    ("role", lambda entry: entry["role"]),
    ("action", lambda entry: entry["action"]),
    ("object", lambda entry: entry["object"]),
    ("detail", lambda entry: entry["detail"]),
    ("outcome", lambda entry: entry["reason"] or ("done" if entry["status"] < 400 else entry["status"])),
    ("address", lambda entry: entry["address"]),
)


def audit(
    user: Annotated[str | None, typer.Option("--user", help="Only what this user did.", show_default=False)] = None,
    action: Annotated[
        str | None,
        typer.Option("--action", help="Only this: scale, upload, put_user, token ...", show_default=False),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Only change, job, login or refused.", show_default=False),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Not before this (RFC 3339).", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")] = 50,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Show who did what, from where, and what was refused (role admin): kept for 90 days, and nobody can take it out.

    Examples:
        mmn audit --user ada
        mmn audit --kind refused -n 500
        mmn audit --since 2030-01-31T12:00:00Z -o json | jq .
    """

    async def work(client: Client) -> list[Any]:
        found: list[Any] = []
        after: str | None = None
        while len(found) < limit:
            wanted = min(_PAGE, limit - len(found))
            page = await client.get(
                "/audit", user=user, action=action, kind=kind, since=since, after=after, limit=wanted
            )
            found += page["entries"]
            after = page["after"]
            if after is None:
                break
        return found

    render.rows(runner.converse(url, work), _COLUMNS, empty="nobody has done anything of the kind")
