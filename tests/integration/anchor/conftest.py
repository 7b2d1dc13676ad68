"""A server, an Anchor on it, and a client, for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.anchor import AnchorProcess, Client
from tests.kit.nats_server import NatsServer, nats_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path, nodes=("n1", "n2"), queue_bound=20) as running:
        yield running


@pytest.fixture
async def anchor(server: NatsServer, request: pytest.FixtureRequest) -> AsyncIterator[AnchorProcess]:
    process = AnchorProcess(server, **getattr(request, "param", {}))
    await process.start()
    yield process
    await process.close()


@pytest.fixture
async def client(server: NatsServer) -> Client:
    return await Client.open(server)
