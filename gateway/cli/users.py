"""`mmn users`: who may use the network, and as what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gateway.cli import render, runner
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop
from gateway.cli.passwords import FromFile, FromStdin, read_password
from gateway.security.roles import Role

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user.")]
RoleOption = Annotated[
    Role, typer.Option("--role", "-r", help="What the user may do; each role includes those before.")
]

_COLUMNS: tuple[render.Column, ...] = (
    ("name", lambda user: user["name"]),
    ("role", lambda user: user["role"]),
    ("logins", lambda user: user["logins"]),
    ("created", lambda user: user["created"]),
)


@app.callback()
def users() -> None:
    """Manage users (role admin): viewer looks, operator also runs jobs, deployer also uploads, admin also does this.

    Examples:
        mmn users add ada --role operator
        mmn users delete ada
    """


@app.command("list")
def list_users(url: runner.Url = None, _output: render.Output = None) -> None:
    """List users with their roles and how many logins they have."""
    render.rows(runner.converse(url, lambda client: client.get("/users")), _COLUMNS, empty="there are no users")


@app.command()
def add(
    name: Name,
    role: RoleOption = Role.VIEWER,
    password_stdin: FromStdin = False,
    password_file: FromFile = None,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Make a user.

    Examples:
        mmn users add ada --role operator
        pwgen 20 1 | mmn users add ci --role deployer --password-stdin
    """
    password = read_password(f"password of {name}", password_file, stdin=password_stdin, new=True)

    async def work(client: Client) -> Any:
        if any(user["name"] == name for user in await client.get("/users")):
            raise Stop(Exit.BAD_INPUT, "there is a user of this name", f"see `mmn users role {name}`")
        return await client.put(f"/users/{name}", {"role": role.value, "password": password})

    _tell(runner.converse(url, work))


@app.command("role")
def change_role(
    name: Name,
    role: Annotated[Role, typer.Argument(help="The role from now on.")],
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Change a user's role; their logins end.

    Examples:
        mmn users role ada deployer
    """
    _tell(runner.converse(url, lambda client: _changed(client, name, {"role": role.value})))


@app.command("password")
def change_password(
    name: Name,
    password_stdin: FromStdin = False,
    password_file: FromFile = None,
    url: runner.Url = None,
    _output: render.Output = None,
) -> None:
    """Change a user's password; their logins end.

    Examples:
        mmn users password ada
    """
    password = read_password(f"new password of {name}", password_file, stdin=password_stdin, new=True)
    _tell(runner.converse(url, lambda client: _changed(client, name, {"password": password})))


@app.command()
def revoke(name: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """End every login of a user, who can log in again."""
    runner.converse(url, lambda client: client.post(f"/users/{name}/revoke"))
    render.note(f"every login of {name} has ended")


@app.command()
def delete(name: Name, url: runner.Url = None, _output: render.Output = None) -> None:
    """Delete a user; their logins end. Not yourself, and not the last admin."""
    runner.converse(url, lambda client: client.delete(f"/users/{name}"))
    render.note(f"deleted {name}")


async def _changed(client: Client, name: str, change: Mapping[str, Any]) -> Any:
    """Change a user that there is: an unknown name must not become a new user."""
    if not any(user["name"] == name for user in await client.get("/users")):
        raise Stop(Exit.BAD_INPUT, "there is no such user", f"{name}; see `mmn users list`")
    return await client.put(f"/users/{name}", dict(change))


def _tell(user: Mapping[str, Any]) -> None:
    if render.json_wanted():
        render.dump(user)
    render.note(f"{user['name']} is {user['role']}")
