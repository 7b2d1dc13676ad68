"""`mmn access`: who belongs to the network, and cutting off a single user of NATS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from contracts.membership import Invite, Revoke
from gateway.cli import joining, render, runner
from gateway.cli.client import Client

app = typer.Typer(help="Members of the network: list, revoke.", no_args_is_help=True)
Valid = Annotated[int, typer.Option("--valid", min=1, max=7 * 86400, help="Seconds until the token expires.")]
Token = Annotated[str, typer.Argument(metavar="TOKEN", help="What `invite` printed.")]
Folder = Annotated[Path | None, typer.Option("--dir", help="Where keys and settings go.", show_default=False)]
_COLUMNS: tuple[render.Column, ...] = (
    ("kind", lambda told: told["kind"]),
    ("name", lambda told: told["name"]),
    ("function", lambda told: told["function"]),
    ("labels", lambda told: render.text(told["labels"])),
    ("joined", lambda told: told["joined"] or "with the network"),
    ("revoked", lambda told: told["revoked"]),
)


@app.command("list")
def listing(url: runner.Url = None, _output: render.Output = None) -> None:
    """List nodes and modules as the authority knows them."""
    told = runner.converse(url, lambda client: client.get("/access"))
    render.rows(told["members"], _COLUMNS, empty="no members")


@app.command()
def revoke(
    who: Annotated[str, typer.Argument(metavar="WHO", help="A public user key (U...), or the name of credentials.")],
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Cut off one user of NATS at once: a worker by its key, or a service by its name.

    Examples:
        mmn access revoke UABC...
        mmn access revoke anchor2
    """
    revoked(url, Revoke(kind="user", name=who))


def invited(url: str | None, wish: Invite, how: str) -> None:
    """Ask for an invitation and print its token alone on standard output, with the gateway's address in it."""

    async def ask(client: Client) -> dict[str, str]:
        told: dict[str, str] = await client.post("/access/invitations", msgspec.to_builtins(wish))
        return told | {"token": joining.addressed(told["token"], client.session.url)}

    told = runner.converse(url, ask)
    if render.json_wanted():
        render.dump(told)
        return
    print(told["token"])
    render.note(f"it works once, until {told['expires']}: {how} TOKEN")


def revoked(url: str | None, wish: Revoke) -> None:
    """Revoke and say so."""
    told = runner.converse(url, lambda client: client.post("/access/revoke", msgspec.to_builtins(wish)))
    if render.json_wanted():
        render.dump(told)
    else:
        render.note(f"{wish.name} is cut off")
