"""What a node does not allow is not measured, by any function, and nothing reaches it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from contracts.bus import Bus
from contracts.results import Result
from tests.kit.nats_server import NatsServer
from tests.kit.node import Announcements, Node, call, deploy, stored_result
from tests.kit.wheels import FUNCTIONS, wheel_of


@pytest.fixture
async def node(server: NatsServer, announced: Announcements) -> AsyncIterator[Node]:
    """A node that allows one address of loopback and no other."""
    assert announced is not None
    node = Node(server, allow_targets='["127.0.0.1"]')
    await node.start()
    try:
        yield node
    finally:
        await node.close()


class Closed:
    """A server at an address that the node does not allow; it counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def _visited(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()

    async def open(self) -> asyncio.Server:
        server = await asyncio.start_server(self._visited, "127.0.0.2", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server


async def measured(anchor: Bus, gateway: Bus, function: str, instance: str, params: dict[str, object]) -> Result:
    reply, _ = await call(anchor, function, instance, params)
    return await stored_result(gateway, reply.job)


async def test_each_function_refuses_a_denied_address_by_name_and_by_number(
    server: NatsServer, anchor: Bus, gateway: Bus, node: Node, announced: Announcements
) -> None:
    assert node.server is server
    for function, params in (
        ("latency-ping", {"target": "127.0.0.2", "count": 1}),
        ("latency-ping", {"target": "::ffff:127.0.0.2", "count": 1}),
        ("dns-lookup", {"name": "example.org", "server": "127.0.0.2"}),
        ("http-probe", {"url": "http://127.0.0.2/"}),
        ("http-probe", {"url": "http://[::1]/"}),
    ):
        await deploy(gateway, wheel_of(FUNCTIONS / function))
        instance = (await announced.next("ready", function)).instance
        result = await measured(anchor, gateway, function, instance, dict(params))
        assert result.failure is not None, (function, params)
        assert (result.failure.code, result.failure.blame) == ("target-denied", "request"), (function, params)
        assert "MMN_RUNTIME_ALLOW_TARGETS" in result.failure.detail
        assert result.data is None or not result.data.get("status")


async def test_a_redirect_to_a_denied_address_is_not_followed(
    anchor: Bus, gateway: Bus, node: Node, announced: Announcements
) -> None:
    assert node is not None
    closed = Closed()
    async with await closed.open():

        async def redirect(_request: web.Request) -> web.Response:
            raise web.HTTPFound(f"http://127.0.0.2:{closed.port}/metadata")

        app = web.Application()
        app.router.add_get("/", redirect)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            port = runner.addresses[0][1]
            await deploy(gateway, wheel_of(FUNCTIONS / "http-probe"))
            instance = (await announced.next("ready", "http-probe")).instance
            params: dict[str, object] = {"url": f"http://127.0.0.1:{port}/", "max_redirects": 3}
            result = await measured(anchor, gateway, "http-probe", instance, params)
        finally:
            await runner.cleanup()
    assert result.failure is not None
    assert result.failure.code == "target-denied"
    assert closed.visits == 0
