"""One nats-server for all tests of this folder, and a fresh node for each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.access import roles
from contracts.bus import Bus
from tests.kit.nats_server import NatsServer, nats_server
from tests.kit.node import Announcements, Node


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path) as server:
        yield server


@pytest.fixture
async def anchor(server: NatsServer) -> Bus:
    return await server.connect(roles.ANCHOR, "anchor1")


@pytest.fixture
async def gateway(server: NatsServer) -> Bus:
    return await server.connect(roles.GATEWAY, "gateway1")


@pytest.fixture
async def announced(anchor: Bus) -> Announcements:
    return await Announcements.open(anchor)


@pytest.fixture
async def node(server: NatsServer, announced: Announcements) -> AsyncIterator[Node]:
    """A running node; its own log is shown when a test fails."""
    assert announced is not None
    node = Node(server)
    await node.start()
    try:
        yield node
    finally:
        await node.close()
        print(_lines(node))  # noqa: T201  # pytest shows it with a failure


def _lines(node: Node) -> str:
    """The end of its log, without the line it writes at each vain attempt to reconnect."""
    lines = node.log.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if '"nats error"' not in line)[-8000:]
