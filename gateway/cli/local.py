"""A whole network on this machine: NATS, Anchors, one gateway, some nodes, each a process.

Everything it keeps lies in one folder, so the same folder brings the same network back.
`stack.json` in it tells other programs where things are while the network runs.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from contracts import bus, streams, subjects
from contracts.access import book, provision
from contracts.access.ca import LocalCa
from contracts.errors import Unavailable
from gateway.cli import authorship, identities, processes
from gateway.cli.embedded import EmbeddedServer, certificate
from gateway.cli.exits import Exit, Stop, sole
from gateway.cli.stack import Program, Stack, tail_of

START_S = 60.0
STACK_FILE = "stack.json"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to start. `port` 0 takes any free one; `nats_url` names a server that already runs.

    `spare` nodes more are known to the server and not started: they may `join` later. `settings` are
    variables for the environment of every service, such as MMN_ANCHOR_ACK_WAIT.
    `allow` are networks that are not public and may be measured, besides this machine.
    """

    folder: Path
    port: int = 8080
    nodes: int = 1
    anchors: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    nats_url: str | None = None
    revoked: frozenset[str] = frozenset()
    spare: int = 0
    queue_bound: int = streams.QUEUE_BOUND
    settings: Mapping[str, str] = field(default_factory=dict)
    allow: list[str] = field(default_factory=list)
    tls: bool = False
    """The gateway speaks https, by a certificate of the network's own authority."""

    def anchor_names(self) -> list[str]:
        """`anchor1`, `anchor2` and so on."""
        return identities.anchor_ids(self.anchors)

    def node_names(self) -> list[str]:
        """`n1`, `n2` and so on, without those that were revoked."""
        names = [f"n{number}" for number in range(1, self.nodes + 1)]
        return [name for name in names if name not in self.revoked]

    def spare_names(self) -> list[str]:
        """The nodes that may join later: the numbers go on."""
        return [f"n{number}" for number in range(self.nodes + 1, self.nodes + self.spare + 1)]

    def node_labels(self, node: str) -> dict[str, str]:
        """Every node is a site of its own; labels given by hand come on top."""
        return {"site": f"local{node.removeprefix('n')}"} | self.labels


class LocalNetwork:
    """One running network. `url` is its gateway; `password_file` holds the password of `admin`."""

    def __init__(self, wish: Wish, stack: Stack) -> None:
        self.wish = wish
        self.stack = stack
        self.files = provision.NetworkFiles(wish.folder)
        self.password_file = wish.folder / identities.PASSWORD_FILE
        self.authors_file = wish.folder / authorship.AUTHORS_FILE
        self.author_file = wish.folder / authorship.KEY_FILE
        self.nats_url = wish.nats_url or ""
        self.url = ""
        self.nodes = wish.node_names()
        self._ready = False
        stack.changed = self._publish

    @property
    def stack_file(self) -> Path:
        return self.wish.folder / STACK_FILE

    @property
    def gateway_ca(self) -> Path | None:
        """The authority that vouches for the gateway; None while it speaks plain http on this machine."""
        return LocalCa(self.files.tls_dir).file if self.wish.tls else None

    @property
    def nats_ca(self) -> Path | None:
        """What vouches for the NATS server; None for one that was named by a plain address."""
        return self.files.tls_dir / "ca.crt" if self.nats_url.startswith("tls://") else None

    def credentials(self) -> dict[str, Path]:
        """Make or find every identity this network needs; returns the files by their short names."""
        nodes = [*self.wish.node_names(), *self.wish.spare_names()]
        return identities.credentials(self.files, nodes, self.wish.anchor_names())

    async def start(self, say: Callable[[str], None]) -> None:
        """Start everything and return when all of it is ready. Raises Stop."""
        credentials = self.credentials()
        identities.password_file(self.files)
        identities.authors(self.wish.folder)
        (self.wish.folder / "logs").mkdir(mode=0o700, exist_ok=True)
        if self.wish.nats_url is None:
            say("starting NATS")
            await self._start_nats()
        say("preparing streams")
        await self._provision(credentials["provisioner"])
        say("starting Anchors, gateway, authority and nodes")
        started = processes.Launch(self, credentials)
        for program in started.programs():
            self.stack.start(program)
        say("waiting until all of it is ready")
        await self._until_ready(credentials["operator"], started.port_file)
        self._ready = True
        self._publish()

    async def join(self, node: str) -> None:
        """Start the runtime of a spare node; returns at once."""
        if node not in self.wish.spare_names() or node in self.nodes:
            raise ValueError(f"{node} is not a spare node")
        self.nodes.append(node)
        self.stack.start(processes.Launch(self, self.credentials()).node(node))

    async def stop(self) -> None:
        """Stop what uses others before what others use."""
        nodes = [f"runtime-{node}" for node in self.nodes]
        self._ready = False
        self.stack_file.unlink(missing_ok=True)
        await self.stack.stop(nodes, ["gateway"], ["authority", *self.wish.anchor_names()], ["nats-server"])

    def program(self, name: str, **options: Any) -> Program:
        """A program of this network, with its folder and log."""
        return Program(name=name, folder=self.wish.folder, log=self.wish.folder / "logs" / f"{name}.log", **options)

    async def _start_nats(self) -> None:
        server = EmbeddedServer(self.files)
        opened = asyncio.Event()
        if server.port_is_taken():
            server.forget_port()

        async def listening(pid: int) -> None:
            self.nats_url = await server.listening(pid)
            opened.set()

        self.stack.start(self.program("nats-server", command=server.command, environment=dict, listening=listening))
        await opened.wait()

    async def _provision(self, credentials: Path) -> None:
        async with self._connected(credentials, provision.PROVISIONER_ID) as connection:
            await provision.provision_streams(connection, queue_bound=self.wish.queue_bound)

    @asynccontextmanager
    async def _connected(self, credentials: Path, identity: str) -> AsyncGenerator[bus.Bus]:
        inbox = subjects.manage_inbox(identity)
        if identity == provision.OPERATOR_ID:
            # People use this one with their own tools, whose inboxes have the default prefix.
            inbox = subjects.INBOX_DEFAULT
        try:
            connection = await bus.connect(
                self.nats_url,
                bus.FileCredentials(credentials),
                identity=identity,
                inbox=inbox,
                ca=bus.read_ca(self.nats_ca),
            )
        except Unavailable as error:
            raise Stop(Exit.UNAVAILABLE, "NATS cannot be used", str(error)) from error
        try:
            yield connection
        finally:
            await connection.drain()

    async def _until_ready(self, credentials: Path, port_file: Path) -> None:
        """All services answer by name, and the gateway says that it is ready."""
        wanted = {
            "authority": ("authority", identities.AUTHORITY_ID),
            "gateway": ("gateway", identities.GATEWAY_ID),
        }
        wanted |= {anchor: ("anchor", anchor) for anchor in self.wish.anchor_names()}
        wanted |= {f"runtime-{node}": ("runtime", node) for node in self.wish.node_names()}
        missing = sorted(wanted)
        try:
            async with asyncio.timeout(START_S), self._connected(credentials, provision.OPERATOR_ID) as connection:
                self.url = await processes.learned_url(port_file)
                while missing:
                    missing = await processes.missing(connection, wanted)
                    await asyncio.sleep(_POLL_S)
                await processes.gateway_ready(self.url, self.gateway_ca)
        except TimeoutError:
            name = missing[0] if self.url and missing else "gateway"
            log = self.wish.folder / "logs" / f"{name}.log"
            detail = f"{name} does not answer. The end of {log}:\n{tail_of(log)}"
            raise Stop(Exit.UNAVAILABLE, f"the network is not ready after {START_S:.0f} s", detail) from None

    def _publish(self) -> None:
        if self._ready:
            provision.write_secret(self.stack_file, msgspec.json.format(msgspec.json.encode(self.described())).decode())

    def described(self) -> dict[str, Any]:
        """What `stack.json` holds."""

        def pids(name: str) -> list[int]:
            pid = self.stack.pid(name)
            return [] if pid is None else [pid]

        return {
            "v": 1,
            "version": version("mmn"),
            "gateway": {"url": self.url, "ca": str(self.gateway_ca) if self.gateway_ca else None},
            "nats": {"url": self.nats_url, "ca": str(self.nats_ca) if self.nats_ca else None},
            "credentials": {name: str(path) for name, path in self.credentials().items()},
            "admin": {"user": processes.ADMIN, "password_file": str(self.password_file)},
            "author": {"key_file": str(self.author_file), "trusted_file": str(self.authors_file)},
            "nodes": self.nodes,
            "pids": {
                "mmn": [os.getpid()],
                "nats-server": pids("nats-server"),
                "anchor": {anchor: self.stack.pid(anchor) for anchor in self.wish.anchor_names()},
                "gateway": pids("gateway"),
                "authority": pids("authority"),
                "runtime": {node: self.stack.pid(f"runtime-{node}") for node in self.nodes},
            },
        }


def server_configuration(wish: Wish, *, host: str, port: int, names: Sequence[str] = ()) -> str:
    """The configuration of a server that knows this network's keys; makes those that are missing. Raises Stop."""
    with alone(wish.folder):
        files = provision.NetworkFiles(wish.folder)
        for node in wish.node_names():
            files.node_key(node)
        tls = certificate(files, names)
        return files.write_server_config(host=host, port=port, ports_dir=files.nats_dir, tls=tls).read_text()


@contextmanager
def alone(folder: Path) -> Generator[None]:
    """Hold the folder for this process. Raises Stop when another network runs in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")
    except OSError as error:
        raise Stop(Exit.BAD_INPUT, "the state directory cannot be used", f"{folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip()
            told = f"process {owner}" if owner else "another process"
            hint = f"{told} runs a network in {folder}; stop it first, or name another folder by --dir"
            raise Stop(Exit.BAD_INPUT, "already running", hint) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@asynccontextmanager
async def running(
    wish: Wish, *, say: Callable[[str], None], progress: Callable[[str], None] | None = None
) -> AsyncGenerator[LocalNetwork]:
    """A network that is ready. It is stopped in order at the end, whatever the end is.

    `say` prints what happens to processes, `progress` the steps of the start. Leave by
    `network.stack.during(...)`, which raises Ended on SIGINT, SIGTERM and hopeless programs.
    """
    with alone(wish.folder):
        (wish.folder / STACK_FILE).unlink(missing_ok=True)
        try:
            async with asyncio.TaskGroup() as group:
                stack = Stack(group, say=say)
                stack.obey_signals()
                gone = frozenset(book.load(wish.folder / "authority" / "book.json").gone)
                if gone:
                    say(f"revoked, so not started: {', '.join(sorted(gone))}")
                network = LocalNetwork(replace(wish, revoked=gone), stack)
                try:
                    await stack.during(network.start(progress or say))
                    yield network
                finally:
                    await network.stop()
        except BaseExceptionGroup as error:
            raise sole(error) from error
