"""`mmn key`: an author's own key, and signatures made by it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.access import tokens
from contracts.signatures import FILE_SUFFIX
from gateway.cli import authorship, build, render, settings
from gateway.cli.exits import Exit, Stop

app = typer.Typer(no_args_is_help=True)

Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="The author's key. Default: MMN_AUTHOR_KEY, else that of the network on this machine, else your own.",
        show_default=False,
    ),
]


@app.callback()
def key() -> None:
    """An author's key signs bundles; networks and nodes trust its public half.

    Examples:
        mmn key new
        mmn key sign dist/my_probe-1.0.0-py3-none-any.whl
    """


@app.command()
def new(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Where to keep it. Default: ~/.config/mmn/author.key.", show_default=False),
    ] = None,
    _output: render.Output = None,
) -> None:
    """Make a key that only you may read, and print its public half. A file that is there is never replaced.

    Examples:
        mmn key new
        mmn key new ci.key
    """
    path = (file or settings.load().own_key).expanduser()
    author = tokens.public(authorship.make(path))
    _tell(author, path)
    render.note(f"kept in {path}; now an admin of the network runs: mmn authors trust {author}")


@app.command()
def show(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Default: the key that `mmn deploy` would use.", show_default=False),
    ] = None,
    _output: render.Output = None,
) -> None:
    """Print the public half of a key."""
    path = authorship.find(settings.load(), None, file)
    _tell(tokens.public(authorship.read(path)), path)
    render.note(f"of {path}")


@app.command()
def sign(
    wheel: Annotated[Path, typer.Argument(metavar="WHEEL", help="The wheel to sign.")],
    chosen: Key = None,
    _output: render.Output = None,
) -> None:
    """Sign a wheel: the signature goes into a file beside it, WHEEL.sig, to be uploaded with it.

    Examples:
        uv build --wheel my-probe && mmn key sign my-probe/dist/my_probe-1.0.0-py3-none-any.whl
    """
    path = authorship.find(settings.load(), None, chosen)
    own = authorship.read(path)
    beside = wheel.with_name(wheel.name + FILE_SUFFIX)
    line = authorship.signed(build.read(wheel), own)
    try:
        beside.write_text(line + "\n")
    except OSError as error:
        raise Stop(Exit.BAD_INPUT, "the signature cannot be written", f"{beside}: {error.strerror}") from error
    if render.json_wanted():
        render.dump({"file": str(beside), "author": tokens.public(own)})
    else:
        print(beside)
        render.note(f"signed by {tokens.public(own)}, the key in {path}")


def _tell(author: str, path: Path) -> None:
    if render.json_wanted():
        render.dump({"author": author, "file": str(path)})
    else:
        print(author)
