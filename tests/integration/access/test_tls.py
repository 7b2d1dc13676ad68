"""NATS is reached by TLS 1.3, checked against the network's own authority, and by nothing less."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from contracts import bus, subjects
from contracts.access import roles
from contracts.access.ca import LocalCa
from contracts.bus import CannotConnect
from tests.kit.nats_server import NatsServer, nats_server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path_factory.mktemp("tls"), tls=True) as running:
        yield running


async def enter(server: NatsServer, url: str, ca: str | None) -> bus.Bus:
    credentials = bus.FileCredentials(server.files.credentials(roles.GATEWAY, "gateway1"))
    return await bus.connect(url, credentials, identity="gateway1", inbox=subjects.manage_inbox("gateway1"), ca=ca)


def port(server: NatsServer) -> int:
    return int(server.url.rpartition(":")[2])


def shake_hands(server: NatsServer, version: ssl.TLSVersion) -> str | None:
    """Begin with the handshake, in one version of TLS alone; returns the version agreed upon."""
    context = ssl.create_default_context(cafile=str(server.ca))
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port(server)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as opened,
    ):
        return opened.version()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_client_of_an_older_version_is_refused(server: NatsServer) -> None:
    assert await asyncio.to_thread(shake_hands, server, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        await asyncio.to_thread(shake_hands, server, ssl.TLSVersion.TLSv1_2)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_service_that_speaks_in_the_clear_is_refused(server: NatsServer) -> None:
    with pytest.raises(CannotConnect):
        await enter(server, f"nats://127.0.0.1:{port(server)}", None)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_server_that_another_authority_vouches_for_is_refused(server: NatsServer, tmp_path: Path) -> None:
    other = LocalCa(tmp_path / "other")
    other.ensure()
    with pytest.raises(CannotConnect, match=r"(?i)certificate"):
        await enter(server, server.url, other.file.read_text())
    with pytest.raises(CannotConnect, match=r"(?i)certificate"):
        # No authority named: the system's, which know nothing of this network.
        await enter(server, server.url, None)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_server_of_another_name_is_refused(server: NatsServer) -> None:
    with pytest.raises(CannotConnect, match=r"(?i)certificate"):
        await enter(server, f"tls://localhost:{port(server)}", bus.read_ca(server.ca))


@pytest.mark.asyncio(loop_scope="module")
async def test_an_authority_beside_a_plain_address_is_told_as_a_mistake(server: NatsServer) -> None:
    with pytest.raises(CannotConnect, match="tls://"):
        await enter(server, server.url.replace("tls://", "nats://"), bus.read_ca(server.ca))


async def test_nobody_between_can_say_that_there_is_no_tls(server: NatsServer) -> None:
    """A false server greets in the clear and asks for no TLS; it must not get the client's token."""
    heard: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"nonce":"aaaa"}\r\n')
        heard.append(await reader.read(4096))
        writer.close()

    false = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with false:
        with pytest.raises(CannotConnect):
            await enter(server, f"tls://127.0.0.1:{false.sockets[0].getsockname()[1]}", bus.read_ca(server.ca))
    assert heard
    assert not any(b"CONNECT" in words or b"eyJ" in words for words in heard)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_connection_comes_back_by_tls_after_a_restart_of_the_server(server: NatsServer) -> None:
    connection = await enter(server, server.url, bus.read_ca(server.ca))
    came_back = asyncio.Event()
    connection.on_reconnect(came_back.set)
    await server.stop()
    await server.start()
    async with asyncio.timeout(15):
        await came_back.wait()
    await connection.flush()
    await connection.drain()
