"""`mmn login`, `mmn logout`: exchange a password for tokens and keep those, not the password."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway.cli import render, runner, settings
from gateway.cli.client import Client
from gateway.cli.exits import Stop
from gateway.cli.passwords import FromStdin, read_password
from gateway.cli.session import Session

Where = Annotated[str | None, typer.Argument(metavar="[URL]", help="The gateway, such as https://mmn.example.net.")]


def login(
    url: Where = None,
    user: Annotated[str, typer.Option("--user", "-u", help="Who you are.")] = "admin",
    password_stdin: FromStdin = False,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file", help="Read it from a file, and use that to renew the login.", show_default=False
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca", help="The authority that vouches for the gateway, if no public one does.", show_default=False
        ),
    ] = None,
    _output: render.Output = None,
) -> None:
    """Log in to a gateway, and use that one from now on.

    Not needed for a network on this machine: there the commands log in by themselves.

    Examples:
        mmn login https://mmn.example.net --user ada
        mmn login --password-file secret
        mmn login https://127.0.0.1:8443 --ca ca.crt
    """
    found = settings.load()
    session = Session(msgspec.structs.replace(found, ca=ca.expanduser().resolve()) if ca else found, url)
    password = read_password(f"password of {user} at {session.url}", password_file, stdin=password_stdin)
    kept = str(password_file.resolve()) if password_file else None

    async def work() -> str:
        async with Client(session) as client:
            return (await client.login(user, password, password_file=kept, current=True)).role

    role = runner.run(work())
    if render.json_wanted():
        render.dump({"url": session.url, "user": user, "role": role})
    render.note(f"logged in to {session.url} as {user}" + (f" ({role})" if role else ""))


def logout(
    url: Where = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="End all of this user's logins, in browsers and on other machines too.")
    ] = False,
    _output: render.Output = None,
) -> None:
    """End the login at a gateway and forget it here.

    Examples:
        mmn logout
        mmn logout --everywhere
    """
    session = Session(settings.load(), url)

    async def work() -> None:
        async with Client(session) as client:
            await client.logout(everywhere=everywhere)

    known = session.login() is not None
    if known or everywhere:
        try:
            runner.run(work())
        except Stop as stop:
            if everywhere:
                raise
            # Forgotten here all the same; there it ends by itself.
            render.note(f"the gateway was not told: {stop}")
    session.forget()
    render.note(f"logged out of {session.url}" if known else f"there was no login for {session.url}")
