"""`mmn up` and `mmn server-config`: a network on this machine that runs until it is told to stop."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contracts.errors import InvalidField
from contracts.functions import check_labels
from gateway.cli import render, runner, settings, values
from gateway.cli.exits import Exit, Stop
from gateway.cli.local import LocalNetwork, Wish, running, server_configuration
from gateway.cli.stack import Ended

Dir = Annotated[
    Path | None,
    typer.Option(
        "--dir", help="Where keys and data are kept. Default: MMN_STATE, else ~/.local/state/mmn.", show_default=False
    ),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The gateway's port; 0 takes any free one.")]
Nodes = Annotated[int, typer.Option("--nodes", min=0, max=64, help="How many nodes: n1, n2 ...")]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--name",
        metavar="HOST",
        help="A name or address by which clients reach the server, for its certificate.",
        show_default=False,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="K=V", help="A label for every node, besides site=local1 ...", show_default=False),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="NETWORK",
        help="A network that is not public and may be measured, such as 192.168.1.0/24; repeat it.",
        show_default=False,
    ),
]


def up(
    folder: Dir = None,
    port: Port = 8080,
    nodes: Nodes = 1,
    anchors: Annotated[
        int, typer.Option("--anchors", min=1, max=16, help="How many Anchors share the work: anchor1, anchor2 ...")
    ] = 1,
    label: Labels = None,
    nats_url: Annotated[
        str | None,
        typer.Option(
            "--nats-url",
            help="Use this NATS server, started with what `mmn server-config` prints, instead of an own one.",
            show_default=False,
        ),
    ] = None,
    allow: Allow = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="The gateway speaks https, under the network's own certificate authority.")
    ] = False,
) -> None:
    """Run a whole network on this machine until Ctrl-C: NATS, Anchors, gateway and nodes.

    Keys, credentials and data stay in one folder, so the same network comes back the next time.
    A process that dies is started again. The file stack.json in the folder tells where everything is.

    Examples:
        mmn up
        mmn up --nodes 3 --label asn=64500
        mmn up --nodes 2 --anchors 2
        mmn up --dir /tmp/net --port 0
    """
    wish = Wish(
        folder=state_folder(folder),
        port=port,
        nodes=nodes,
        anchors=anchors,
        labels=labels(label or []),
        nats_url=nats_url,
        allow=networks(allow or []),
        tls=tls,
    )
    runner.run(_up(wish))


async def _up(wish: Wish) -> None:
    console = render.stderr()

    def say(line: str) -> None:
        console.print(f"[dim]mmn:[/] {escape(line)}")

    try:
        async with running(wish, say=say) as network:
            greet(network, say)
            await network.stack.forever()
    except Ended as ended:
        if ended.why is not None:
            raise ended.why from None
        say("stopped")


def greet(network: LocalNetwork, say: Callable[[str], None]) -> None:
    """Tell where the network is and how to use it."""
    wish = network.wish
    nodes = ", ".join(wish.node_names()) or "none"
    say(f"the network is ready: {network.url} (nodes: {nodes})")
    say(f"user admin, password in {network.password_file}")
    say(
        f"NATS: {network.nats_url}, credentials in {wish.folder / 'creds'}, its certificate authority {network.nats_ca}"
    )
    if network.gateway_ca is not None:
        say(f"https: browsers have to be told to trust {network.gateway_ca}; mmn here does already")
        say(f"elsewhere: mmn login {network.url} --ca {network.gateway_ca.name}, or MMN_CA; curl --cacert")
    if wish.folder != settings.load().state:
        say(f"to use it from another terminal: export MMN_STATE={wish.folder}")
    say("stop it by Ctrl-C")


def server_config(
    folder: Dir = None,
    nodes: Nodes = 1,
    host: Annotated[str, typer.Option("--host", help="The address the server listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=-1, max=65535, help="The port it listens on.")] = 4222,
    name: Names = None,
) -> None:
    """Print the configuration of a NATS server for a network's keys.

    Start a server with it, then `mmn up --nats-url tls://HOST:PORT` with the same folder and no more nodes.

    Examples:
        mmn server-config --dir net > server.conf && nats-server -c server.conf
    """
    wish = Wish(folder=state_folder(folder), nodes=nodes)
    names = [*reached_by(host), *(name or [])]
    print(server_configuration(wish, host=host, port=port, names=names), end="")


def reached_by(host: str) -> list[str]:
    """The address to put into the server's certificate: none for one that stands for all of this machine's."""
    return [] if host in {"0.0.0.0", "::"} else [host]


def state_folder(folder: Path | None) -> Path:
    """The folder to use, absolute."""
    return (folder or settings.load().state).expanduser().resolve()


def networks(words: list[str]) -> list[str]:
    """Addresses and networks as they are written on a command line. Raises Stop."""
    for word in words:
        try:
            ipaddress.ip_network(word)
        except ValueError as error:
            raise Stop(Exit.BAD_INPUT, "wrong input", f"--allow: {error}") from error
    return words


def labels(words: list[str]) -> dict[str, str]:
    """Labels written `k=v`. Raises Stop."""
    try:
        return check_labels(values.pairs(words, what="a label"))
    except InvalidField as error:
        raise Stop(Exit.BAD_INPUT, "wrong input", error.message) from error
