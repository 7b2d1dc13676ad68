"""The service processes of a network on this machine: their command lines, environments and signs of life."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import msgspec
import nats.errors

from contracts import subjects
from contracts.access.ca import LocalCa
from contracts.bus import Bus
from gateway.cli import identities
from gateway.cli.client import trust
from gateway.cli.embedded import LOCAL_NAMES
from gateway.cli.stack import Program

if TYPE_CHECKING:
    from gateway.cli.local import LocalNetwork

HOST = "127.0.0.1"
LOCAL_TARGETS = ("127.0.0.0/8", "::1/128", "resolvers")
"""What is not public and may be measured all the same by nodes that run beside everything else: this machine."""
ADMIN = "admin"
_POLL_S = 0.05
_PING_S = 0.5


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the services of a network."""

    network: LocalNetwork
    credentials: Mapping[str, Path]

    @property
    def port_file(self) -> Path:
        """Where the gateway writes its URL once it listens."""
        return self.network.wish.folder / "gateway" / "url"

    def programs(self) -> Iterable[Program]:
        """Authority, Anchors, gateway and every node's runtime."""
        wish = self.network.wish
        self.port_file.parent.mkdir(mode=0o700, exist_ok=True)
        self.port_file.unlink(missing_ok=True)
        yield self._service("authority", "gateway.authority", self._authority)
        for anchor in wish.anchor_names():
            yield self._service(anchor, "anchor", partial(self._anchor, anchor))
        yield self._service("gateway", "gateway", self._gateway)
        for node in wish.node_names():
            yield self.node(node)

    def node(self, node: str) -> Program:
        """The runtime of one node."""
        (self.network.wish.folder / "runtime" / node).mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._service(f"runtime-{node}", "runtime", partial(self._runtime, node))

    def _service(self, name: str, module: str, environment: Callable[[], dict[str, str]]) -> Program:
        # -P: a folder of the user's that is called like one of our packages must not be imported.
        return self.network.program(
            name,
            command=lambda: [sys.executable, "-P", "-m", module],
            environment=lambda: {**self._server(), **self.network.wish.settings, **environment()},
            grace=15.0,
        )

    def _server(self) -> dict[str, str]:
        """Where NATS is, and what vouches for it."""
        network = self.network
        found = {"MMN_NATS_URL": network.nats_url}
        return found | ({"MMN_NATS_CA": str(network.nats_ca)} if network.nats_ca else {})

    def _authority(self) -> dict[str, str]:
        return {
            "MMN_AUTHORITY_ID": identities.AUTHORITY_ID,
            "MMN_AUTHORITY_NATS_CREDS": str(self.credentials["authority"]),
            "MMN_AUTHORITY_STATE_DIR": str(self.network.wish.folder),
        }

    def _anchor(self, anchor: str) -> dict[str, str]:
        return {
            "MMN_ANCHOR_ID": anchor,
            "MMN_ANCHOR_NATS_CREDS": str(self.credentials[anchor]),
        }

    def _gateway(self) -> dict[str, str]:
        network = self.network
        # Started again, it keeps the port that people know by then.
        port = urlsplit(network.url).port if network.url else network.wish.port
        return {
            "MMN_GATEWAY_ID": identities.GATEWAY_ID,
            "MMN_GATEWAY_NATS_CREDS": str(self.credentials["gateway"]),
            "MMN_GATEWAY_STATE_DIR": str(self.port_file.parent),
            "MMN_GATEWAY_HOST": HOST,
            "MMN_GATEWAY_PORT": str(port),
            "MMN_GATEWAY_PORT_FILE": str(self.port_file),
            **self._gateway_tls(),
            "MMN_GATEWAY_ADMIN_USER": ADMIN,
            "MMN_GATEWAY_ADMIN_PASSWORD_FILE": str(network.password_file),
            "MMN_GATEWAY_TRUSTED_AUTHORS_FILE": str(network.authors_file),
        }

    def _gateway_tls(self) -> dict[str, str]:
        network = self.network
        if not network.wish.tls:
            return {}
        # Made anew at a start when it ends soon.
        pair = LocalCa(network.files.tls_dir).server("gateway", LOCAL_NAMES)
        return {"MMN_GATEWAY_TLS_CERT": str(pair.cert), "MMN_GATEWAY_TLS_KEY": str(pair.key)}

    def _runtime(self, node: str) -> dict[str, str]:
        network = self.network
        return {
            "MMN_RUNTIME_NODE": node,
            "MMN_RUNTIME_ALLOW_TARGETS": msgspec.json.encode([*LOCAL_TARGETS, *network.wish.allow]).decode(),
            "MMN_RUNTIME_LABELS": msgspec.json.encode(network.wish.node_labels(node)).decode(),
            "MMN_RUNTIME_NATS_CREDS": str(self.credentials[f"runtime-{node}"]),
            "MMN_RUNTIME_SIGNING_KEY": str(network.files.node_key(node)),
            "MMN_RUNTIME_MEASURE_ACCOUNT": network.files.account_key("MEASURE"),
            "MMN_RUNTIME_STATE_DIR": str(network.wish.folder / "runtime" / node),
            "MMN_RUNTIME_TRUSTED_AUTHORS_FILE": str(network.authors_file),
        }


async def learned_url(port_file: Path) -> str:
    """Wait until the gateway has told its URL."""
    while True:
        if url := _text(port_file):
            return url
        await asyncio.sleep(_POLL_S)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


async def missing(bus: Bus, wanted: Mapping[str, tuple[str, str]]) -> list[str]:
    """Which of these services, given as micro service name and id, do not answer `$SRV.PING` now."""

    async def ask(name: str, instance: str) -> bool:
        try:
            await bus.request(subjects.service("PING", name, instance), within=_PING_S)
        except (nats.errors.Error, TimeoutError):
            return False
        return True

    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(ask(*who)) for name, who in wanted.items()}
    return sorted(name for name, task in asked.items() if not task.result())


async def gateway_ready(url: str, ca: Path | None) -> None:
    """Wait until the gateway says that it is ready."""
    connector = aiohttp.TCPConnector(ssl=trust(str(ca))) if ca else None
    async with aiohttp.ClientSession(connector=connector) as session:
        while True:
            try:
                async with session.get(f"{url}/api/v1/status") as answer:
                    if answer.status == 200 and (await answer.json()).get("ready", True):
                        return
            except (aiohttp.ClientError, ValueError):
                # Not listening yet; the caller has the deadline.
                pass
            await asyncio.sleep(_POLL_S)
