"""A server, an Anchor, two nodes that run echo 1.0.0, and a client."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.access import roles
from contracts.bus import Bus
from tests.kit.anchor import AnchorProcess, Client
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer, nats_server
from tests.kit.node import Announcements, Node, deploy
from tests.kit.rollouts import echo


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path, nodes=("n1", "n2")) as running:
        yield running


@pytest.fixture
async def gateway(server: NatsServer) -> Bus:
    return await server.connect(roles.GATEWAY, "gateway1")


@pytest.fixture
async def announced(server: NatsServer) -> Announcements:
    return await Announcements.open(await server.connect(roles.ANCHOR, "listener"))


@pytest.fixture
async def anchor(server: NatsServer) -> AsyncIterator[AnchorProcess]:
    process = AnchorProcess(server, log_level="debug")
    await process.start()
    yield process
    await process.close()
    print(process.log.read_text()[-8000:])  # noqa: T201  # pytest shows it with a failure


@pytest.fixture
async def nodes(server: NatsServer, gateway: Bus, announced: Announcements) -> AsyncIterator[list[Node]]:
    found = [Node(server, name) for name in ("n1", "n2")]
    for node in found:
        await node.start()
    try:
        await deploy(gateway, echo("1.0.0"))
        for node in found:
            await announced.next("ready", "echo", node=node.node, within=60.0)
        yield found
    finally:
        for node in found:
            await node.close()


@pytest.fixture
async def client(server: NatsServer, anchor: AnchorProcess, nodes: list[Node]) -> Client:
    assert anchor is not None
    assert nodes
    client = await Client.open(server)

    async def works() -> bool:
        await client.result((await client.submit(function="echo")).job)
        return True

    await eventually(works, within=30.0)
    return client
