"""`mmn provision` and `mmn streams`: make a network whose processes something else than `mmn up` starts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, NamedTuple

import nats.errors
import typer
from nats.js.errors import ServiceUnavailableError

from contracts import bus, clock, subjects
from contracts.access import provision as access
from contracts.access.serverconf import Sync, TlsFiles
from contracts.errors import InvalidField, Unavailable
from contracts.functions import check_node
from contracts.streams import QUEUE_BOUND
from gateway.cli import authorship, identities, render, runner
from gateway.cli.embedded import certificate
from gateway.cli.exits import Exit, Stop
from gateway.cli.local import alone
from gateway.cli.up import Dir, Names, reached_by, state_folder

_RETRY_S = 0.5
# JetStream answers a little later than the server itself, and in a cluster once it has a leader.
_NOT_YET = (Unavailable, TimeoutError, nats.errors.NoRespondersError, ServiceUnavailableError)


def provision(
    folder: Dir = None,
    nodes: Annotated[str, typer.Option("--nodes", metavar="N1,N2", help="The nodes' ids.")] = "n1",
    host: Annotated[str, typer.Option("--host", help="The address the NATS server listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=-1, max=65535, help="The port it listens on.")] = 4222,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where the server keeps its streams. Default: in --dir.", show_default=False),
    ] = None,
    sync_always: Annotated[
        bool, typer.Option("--sync-always", help="The server writes each message to disk at once: slower, but lasts.")
    ] = False,
    name: Names = None,
    nats_files: Annotated[
        Path | None,
        typer.Option(
            "--nats-files",
            help="Where the server finds its certificate on its own host. Default: folder nats of --hand-out.",
            show_default=False,
        ),
    ] = None,
    author: Annotated[
        list[str] | None,
        typer.Option(
            "--author",
            metavar="KEY",
            help="An author's public key to trust; repeat it. Without any the network gets an author of its own.",
            show_default=False,
        ),
    ] = None,
    hand_out: Annotated[
        Path | None,
        typer.Option("--hand-out", help="Copy here, to a folder each, what each process may know.", show_default=False),
    ] = None,
) -> None:
    """Make keys, credentials and the NATS server's configuration, and start nothing.

    What is there already is kept; the same command with more nodes adds those.
    --dir then holds the operator's key: no service needs it. Each service needs its own folder of --hand-out:
    nats, streams, anchor, gateway, operator, admin and author (for people), node-n1 and so on. The server speaks TLS 1.3; its
    certificate is renewed by the same command, and is good for --host, --name and this machine.

    Examples:
        mmn provision --dir net --nodes fra1,ber1
        mmn provision --dir net --nodes fra1 --host 0.0.0.0 --name nats.example.net --hand-out out
    """
    wanted, state, authors = node_ids(nodes), state_folder(folder), authorship.named(author or [])
    place = data.expanduser() if data else None
    sync: Sync = "always" if sync_always else "2m"
    with alone(state):
        files = access.NetworkFiles(state)
        made = identities.credentials(files, wanted)
        trusted = identities.authors(state, authors)
        tls = certificate(files, [*reached_by(host), *(name or [])])
        given = nats_files or (hand_out.expanduser().absolute() / "nats" if hand_out else None)
        text = files.server_config(
            listen=f"{host}:{port}",
            ports_dir=place or files.nats_dir,
            data_dir=place or files.nats_dir,
            sync=sync,
            tls=tls if given is None else TlsFiles(cert=str(given / "server.crt"), key=str(given / "server.key")),
        )
        access.write_secret(files.nats_dir / "server.conf", text)
        render.note(f"credentials in {state / 'creds'}: {', '.join(made)}")
        render.note(f"authors whose bundles it takes: {trusted}")
        render.note(f"configuration of the NATS server: {files.nats_dir / 'server.conf'}")
        if hand_out is not None:
            try:
                names = identities.hand_out(files, wanted, hand_out.expanduser(), server_config=text, tls=tls)
            except OSError as error:
                raise Stop(
                    Exit.BAD_INPUT, "nothing can be handed out", f"{error.filename}: {error.strerror}"
                ) from error
            render.note(f"what each process needs, in {hand_out}: {', '.join(names)}")


def node_ids(text: str) -> list[str]:
    """Node ids from a list with commas, each once. Raises Stop."""
    try:
        return list(dict.fromkeys(check_node(name.strip()) for name in text.split(",") if name.strip()))
    except InvalidField as error:
        raise Stop(Exit.BAD_INPUT, "wrong input", f"--nodes: each one {error.rule}, commas between them") from error


def streams(
    nats_url: Annotated[str, typer.Option("--nats-url", help="The NATS server.")] = "tls://127.0.0.1:4222",
    folder: Dir = None,
    creds: Annotated[
        Path | None,
        typer.Option("--creds", help="The provisioner's credentials. Default: those in --dir.", show_default=False),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option("--ca", help="What vouches for the server. Default: ca.crt in --dir/tls.", show_default=False),
    ] = None,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, max=5, help="Copies of each message; 3 in a cluster.")
    ] = 1,
    queue_bound: Annotated[
        int, typer.Option("--queue-bound", min=1, help="Jobs that may wait per class, function and place.")
    ] = QUEUE_BOUND,
    within: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the server.")] = 60.0,
) -> None:
    """Make or update every stream and bucket of a network, once its NATS server answers.

    Examples:
        mmn streams --dir net
        mmn streams --nats-url tls://nats.example.net --creds out/streams/nats.creds --ca out/streams/ca.crt
    """
    file = creds or state_folder(folder) / "creds" / f"{access.PROVISIONER_ID}.creds"
    authority = ca or (state_folder(folder) / "tls" / "ca.crt" if nats_url.startswith("tls://") else None)
    wish = _Wish(nats_url, bus.FileCredentials(file), bus.read_ca(authority), replicas, queue_bound)
    made = runner.run(_streams(wish, within=within))
    render.note(f"made {', '.join(made)}" if made else "every stream and bucket was there; all are up to date")


class _Wish(NamedTuple):
    """Which streams to make, and where."""

    url: str
    credentials: bus.Credentials
    ca: str | None
    replicas: int
    queue_bound: int


async def _streams(wish: _Wish, *, within: float) -> list[str]:
    until = clock.monotonic_ns() + int(within * 1e9)
    while True:
        try:
            return await _provisioned(wish)
        except _NOT_YET as error:
            if clock.monotonic_ns() > until:
                raise Stop(
                    Exit.UNAVAILABLE, "the streams cannot be made", str(error) or type(error).__name__
                ) from error
        except nats.errors.Error as error:
            raise Stop(Exit.BAD_INPUT, "the streams cannot be made", str(error)) from error
        await asyncio.sleep(_RETRY_S)


async def _provisioned(wish: _Wish) -> list[str]:
    identity = access.PROVISIONER_ID
    inbox = subjects.manage_inbox(identity)
    connection = await bus.connect(wish.url, wish.credentials, identity=identity, inbox=inbox, ca=wish.ca)
    try:
        return await access.provision_streams(connection, queue_bound=wish.queue_bound, replicas=wish.replicas)
    finally:
        await connection.drain()
