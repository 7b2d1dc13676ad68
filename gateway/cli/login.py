"""`mmn login`, `mmn logout`: exchange a password for a token and keep that, not the password."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import render, runner, settings
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop
from gateway.cli.session import Session

Where = Annotated[str | None, typer.Argument(metavar="[URL]", help="The gateway, such as https://mmn.example.net.")]


def login(
    url: Where = None,
    user: Annotated[str, typer.Option("--user", "-u", help="Who you are.")] = "admin",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file", help="Read it from a file, and use that to renew the login.", show_default=False
        ),
    ] = None,
    _output: render.Output = None,
) -> None:
    """Log in to a gateway, and use that one from now on.

    Not needed for a network on this machine: there the commands log in by themselves.

    Examples:
        mmn login https://mmn.example.net --user ada
        mmn login --password-file secret
    """
    session = Session(settings.load(), url)
    password = _password(session.url, user, password_file, stdin=password_stdin)
    kept = str(password_file.resolve()) if password_file else None

    async def work() -> str:
        async with Client(session) as client:
            return (await client.login(user, password, password_file=kept, current=True)).role

    role = runner.run(work())
    if render.json_wanted():
        render.dump({"url": session.url, "user": user, "role": role})
    render.note(f"logged in to {session.url} as {user}" + (f" ({role})" if role else ""))


def logout(url: Where = None, _output: render.Output = None) -> None:
    """Forget the login for a gateway."""
    session = Session(settings.load(), url)
    known = session.forget()
    render.note(f"logged out of {session.url}" if known else f"there was no login for {session.url}")


def _password(url: str, user: str, file: Path | None, *, stdin: bool) -> str:
    if file is not None and stdin:
        raise Stop(Exit.BAD_INPUT, "wrong input", "give --password-file or --password-stdin, not both")
    if file is not None:
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Stop(Exit.BAD_INPUT, "the password cannot be read", f"{file}: {error}") from error
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Stop(Exit.BAD_INPUT, "no password", "give --password-stdin or --password-file where nobody can be asked")
    return str(typer.prompt(f"password of {user} at {url}", hide_input=True, err=True))
