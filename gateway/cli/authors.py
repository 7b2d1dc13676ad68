"""`mmn authors`: whose bundles a network takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import InvalidField
from contracts.signatures import check_author
from gateway.cli import authorship, render, runner, settings
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop

app = typer.Typer(no_args_is_help=True)

Author = Annotated[str, typer.Argument(metavar="KEY", help="The author's public key, as `mmn key show` prints it.")]

_COLUMNS: tuple[render.Column, ...] = (
    ("author", lambda one: one["key"]),
    ("name", lambda one: one["name"]),
    ("added by", lambda one: one["by"]),
    ("since", lambda one: one["since"]),
)


@app.callback()
def authors() -> None:
    """Authors whose signed bundles the network takes. Each node has a list of its own besides.

    Examples:
        mmn authors list
        mmn authors trust UBQ...7ZK --name ada
        mmn authors distrust UBQ...7ZK
    """


@app.command("list")
def list_authors(url: runner.Url = None, _output: render.Output = None) -> None:
    """List the authors that the network trusts."""
    told = runner.converse(url, lambda client: client.get("/authors"))
    render.rows(told, _COLUMNS, empty="no author is trusted, so nothing can be uploaded")


@app.command()
def trust(
    author: Author,
    name: Annotated[str, typer.Option("--name", help="What to call the author.")] = "",
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Let the network take bundles signed by this key (role admin).

    Nodes decide for themselves: those of `mmn up` follow at once, for others set MMN_RUNTIME_TRUSTED_AUTHORS there.

    Examples:
        mmn authors trust UBQ...7ZK --name ada
    """
    key = _key(author)

    async def work(client: Client) -> tuple[Any, Path | None]:
        told = await client.put(f"/authors/{key}", {"name": name})
        return told, _follow(client, lambda known: known | {key: name or known.get(key, "")})

    told, file = runner.converse(url, work)
    if render.json_wanted():
        render.dump(told)
    render.note(f"bundles of {told['name'] or 'this author'} are taken, signed by {key}")
    if file is None:
        render.note("each node decides for itself: name the key there in MMN_RUNTIME_TRUSTED_AUTHORS or its file")
    else:
        render.note(f"the nodes on this machine trust it too, by {file}")


@app.command()
def distrust(author: Author, url: runner.Url = None, _output: render.Output = None) -> None:
    """Take no more bundles signed by this key (role admin). What runs goes on running; it is listed.

    Examples:
        mmn authors distrust UBQ...7ZK
    """
    key = _key(author)

    async def work(client: Client) -> tuple[Any, Path | None]:
        told = await client.delete(f"/authors/{key}")
        return told, _follow(client, lambda known: {one: name for one, name in known.items() if one != key})

    told, file = runner.converse(url, work)
    if render.json_wanted():
        render.dump(told)
    render.note(f"nothing signed by {key} is taken any more")
    if file is None:
        render.note("a node refuses it from the next start of a worker on, once its own list is without the key")
    else:
        render.note(f"the nodes on this machine refuse it from the next start of a worker on, by {file}")
    for one in told["runs"]:
        _warn(one)


def _warn(run: Mapping[str, Any]) -> None:
    function = run["function"]
    state = "is on its way" if run["on_its_way"] else "is deployed"
    render.note(
        f"{function} {run['version']} of this author {state} and goes on running; end it by: "
        f"mmn functions disable {function}, or rollback or delete"
    )


def _key(text: str) -> str:
    try:
        return check_author(text.strip(), at="KEY")
    except InvalidField as error:
        raise Stop(Exit.BAD_INPUT, "wrong input", error.message) from error


def _follow(client: Client, change: Callable[[dict[str, str]], dict[str, str]]) -> Path | None:
    """Change the list of the nodes as well, where they run on this machine. Returns its file."""
    folder = authorship.local_folder(settings.load(), client.url)
    if folder is None:
        return None
    return authorship.list_authors(folder, change(authorship.listed(folder)))
