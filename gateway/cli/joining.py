"""Joining a network from a host that has no credentials yet: keys are made here, and only public halves leave."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import nkeys

from contracts.access import tokens
from contracts.access.provision import write_secret
from contracts.membership import Join, MemberKind, Membership
from gateway.cli import authorship, settings
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop
from gateway.cli.session import Session

ENV_FILE = "node.env"


def addressed(token: str, url: str) -> str:
    """A token that also says where to join, so that it is all that the other host has to be told."""
    return f"{token}@{url}"


def read(token: str, url: str | None) -> tuple[str, str | None]:
    """The token itself, and the gateway's URL: the one given by hand counts before the token's own."""
    secret, _, told = token.strip().partition("@")
    return secret, url or told or None


async def join(
    url: str | None,
    token: str,
    *,
    kind: MemberKind,
    folder: Path | None,
    name: str = "",
    authors: Mapping[str, str] | None = None,
) -> tuple[Membership, Path]:
    """Use up a token and write what this host was given. Returns the membership and its folder. Raises Stop.

    A node trusts `authors`, else those that the network trusts now; a list that lies in the folder stays.
    """
    state = settings.load().state
    token, url = read(token, url)
    user, signing = tokens.new_user_key(), tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT)
    wish = Join(
        token=token,
        user_key=tokens.public(user),
        signing_key=tokens.public(signing) if kind == "node" else None,
        name=name,
    )
    async with Client(Session(settings.load(), url)) as client:
        told = await client.join(wish)
    place = (folder or state.parent / f"{state.name}-{told.name}").expanduser().absolute()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(place / "nats.creds", tokens.creds_file(told.user_token, user))
        if told.nats_ca is not None:
            write_secret(place / "ca.crt", told.nats_ca)
        if told.kind == "node":
            write_secret(place / "signing.key", tokens.seed(signing))
            (place / "state").mkdir(mode=0o700, exist_ok=True)
            if not (place / authorship.AUTHORS_FILE).exists():
                authorship.list_authors(place, authors or told.authors)
            lines = "".join(f"{key}={shlex.quote(value)}\n" for key, value in node_settings(told, place).items())
            write_secret(place / ENV_FILE, lines)
        write_secret(place / "membership.json", msgspec.json.format(msgspec.json.encode(told)).decode())
    except OSError as error:
        raise Stop(Exit.BAD_INPUT, "joined, but what was given cannot be kept", f"{place}: {error.strerror}") from error
    return told, place


def node_settings(told: Membership, place: Path) -> Mapping[str, str]:
    """The environment of the node's runtime."""
    found = {
        "MMN_NATS_URL": told.nats_url,
        "MMN_RUNTIME_NODE": told.name,
        "MMN_RUNTIME_LABELS": msgspec.json.encode(told.labels).decode(),
        "MMN_RUNTIME_NATS_CREDS": str(place / "nats.creds"),
        "MMN_RUNTIME_SIGNING_KEY": str(place / "signing.key"),
        "MMN_RUNTIME_MEASURE_ACCOUNT": told.measure_account,
        "MMN_RUNTIME_STATE_DIR": str(place / "state"),
        "MMN_RUNTIME_TRUSTED_AUTHORS_FILE": str(place / authorship.AUTHORS_FILE),
    }
    return found | ({"MMN_NATS_CA": str(place / "ca.crt")} if told.nats_ca is not None else {})


def start(told: Membership, place: Path) -> None:
    """Become the node's runtime. Does not return."""
    environment: dict[str, Any] = settings.child_environment(node_settings(told, place))
    os.chdir(place)
    os.execve(sys.executable, [sys.executable, "-P", "-m", "runtime"], environment)  # noqa: S606  # our own program
