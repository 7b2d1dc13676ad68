"""Where a command takes a password from: a file, standard input, or the person at the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.exits import Exit, Stop

FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
FromFile = Annotated[
    Path | None, typer.Option("--password-file", help="Read the password from a file.", show_default=False)
]


def read_password(question: str, file: Path | None, *, stdin: bool, new: bool = False) -> str:
    """A password; a `new` one is asked for twice. Raises Stop when there is nobody to ask."""
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
    return str(typer.prompt(question, hide_input=True, confirmation_prompt=new, err=True))
