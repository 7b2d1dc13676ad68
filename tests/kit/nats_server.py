"""A real nats-server with a provisioned network: accounts, roles and streams as they ship.

`async with nats_server(folder) as server:` and then `await server.connect(roles.ANCHOR, "anchor1")`.
It speaks plain TCP unless a test asks for `tls`, since what most tests prove is above that. The server chooses its port, and every connection made through it is closed at the end.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

from contracts import bus, streams, subjects
from contracts.access import roles
from contracts.access.ca import LocalCa
from contracts.access.provision import PROVISIONER_ID, NetworkFiles, provision_streams
from contracts.access.serverconf import TlsFiles
from tests.kit.eventually import eventually

BINARY = Path(sys.executable).parent / "nats-server"
_START_S = 15.0
_STOP_S = 5.0


class NatsServer:
    """One server over one state folder. It can be stopped and started again, on the same port."""

    def __init__(self, folder: Path, *, nodes: Iterable[str] = ("n1",), tls: bool = False) -> None:
        self.files = NetworkFiles(folder)
        for node in nodes:
            self.files.node_key(node)
        self._tls = LocalCa(self.files.tls_dir).server("nats", ["127.0.0.1"]) if tls else None
        self.url = ""
        self.log = folder / "nats-server.log"
        self._ports = folder / "ports"
        self._ports.mkdir(exist_ok=True)
        self._port = -1
        self._process: asyncio.subprocess.Process | None = None
        self._connections: list[bus.Bus] = []

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start, and wait until clients are accepted and JetStream answers."""
        tls = TlsFiles(cert=str(self._tls.cert), key=str(self._tls.key)) if self._tls else None
        config = self.files.write_server_config(host="127.0.0.1", port=self._port, ports_dir=self._ports, tls=tls)
        for old in self._ports.glob("*.ports"):
            old.unlink()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                BINARY, "-c", config, stdin=DEVNULL, stdout=log, stderr=log
            )
        try:
            plain = await eventually(self._read_url, within=_START_S)
        except AssertionError as error:
            raise AssertionError(f"nats-server did not start:\n{self.log.read_text()[-2000:]}") from error
        # Written down, so that whoever was connected finds it again after a restart.
        self._port = int(plain.rpartition(":")[2])
        self.url = f"{'tls' if self._tls else 'nats'}://127.0.0.1:{self._port}"

    def _read_url(self) -> str:
        for path in self._ports.glob("*.ports"):
            urls: list[str] = json.loads(path.read_text()).get("nats", [])
            return urls[0] if urls else ""
        assert self._process is not None
        assert self._process.returncode is None, "it ended"
        return ""

    async def provision(self, *, queue_bound: int = streams.QUEUE_BOUND) -> None:
        """Make every stream and bucket."""
        connection = await self.connect(roles.PROVISIONER, PROVISIONER_ID)
        await provision_streams(connection, queue_bound=queue_bound)

    @property
    def ca(self) -> Path | None:
        """What vouches for the server, if it speaks TLS."""
        return self.files.tls_dir / "ca.crt" if self._tls else None

    async def connect(self, role: roles.Role, identity: str) -> bus.Bus:
        """Connect as a role of account MANAGE; closed when the server is."""
        credentials = bus.FileCredentials(self.files.credentials(role, identity))
        inbox = subjects.INBOX_DEFAULT if role in roles.PEOPLE else subjects.manage_inbox(identity)
        connection = await bus.connect(self.url, credentials, identity=identity, inbox=inbox, ca=bus.read_ca(self.ca))
        self._connections.append(connection)
        return connection

    async def stop(self) -> None:
        """Terminate, then kill."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def close(self) -> None:
        """Close every connection, then stop."""
        for connection in self._connections:
            await connection.drain(within=1.0)
        await self.stop()


@asynccontextmanager
async def nats_server(
    folder: Path, *, nodes: Iterable[str] = ("n1",), queue_bound: int = streams.QUEUE_BOUND, tls: bool = False
) -> AsyncIterator[NatsServer]:
    """A started, provisioned server that is gone afterwards, whatever happens."""
    server = NatsServer(folder, nodes=nodes, tls=tls)
    try:
        await server.start()
        await server.provision(queue_bound=queue_bound)
        yield server
    finally:
        await server.close()
