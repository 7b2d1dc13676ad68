"""The HTTP server before strangers: TLS 1.3 and nothing older, and no patience without end."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, TCPConnector

from contracts.access.ca import LocalCa
from contracts.errors import MmnError
from gateway import server as module
from gateway.app import create_app
from gateway.cli.client import Client, trust
from gateway.cli.exits import Exit, Stop
from gateway.cli.session import Session
from gateway.cli.settings import Settings as CliSettings
from gateway.security.roles import API
from gateway.server import MAX_HEADER_BYTES, Server, in_private, listen, tls_context, url_of
from tests.unit.gateway.plane import PASSWORD, Plane


@asynccontextmanager
async def serving(**settings: Any) -> AsyncGenerator[tuple[str, Plane]]:
    """A gateway that listens, around a stand-in for NATS."""
    plane = Plane()
    plane.parts.settings = msgspec.structs.replace(plane.parts.settings, **settings)
    app: Any = create_app(plane.parts)
    opened = listen("127.0.0.1", 0)
    server = Server(app, plane.parts.settings, stop_within_s=2)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[opened]))
            await asyncio.wait_for(server.listening.wait(), 10)
            try:
                yield url_of(opened, tls="tls_cert" in settings), plane
            finally:
                server.should_exit = True
    finally:
        opened.close()
        await plane.parts.index.close()


def tls(folder: Path) -> tuple[LocalCa, dict[str, Path]]:
    authority = LocalCa(folder)
    pair = authority.server("gateway", ["127.0.0.1", "localhost"])
    return authority, {"tls_cert": pair.cert, "tls_key": pair.key}


async def test_the_gateway_speaks_tls_1_3_and_nothing_older(tmp_path: Path) -> None:
    authority, files = tls(tmp_path)
    async with serving(**files) as (url, _):
        assert url.startswith("https://")
        connector = TCPConnector(ssl=trust(str(authority.file)))
        async with ClientSession(connector=connector) as http, http.get(f"{url}{API}/status") as answer:
            assert answer.status == 200
            assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
        old = ssl.create_default_context(cafile=str(authority.file))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        port = int(url.rpartition(":")[2])
        # By an alert, or by the reset that follows it.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old)


async def test_the_command_line_trusts_the_authority_it_was_told_and_no_other(tmp_path: Path) -> None:
    authority, files = tls(tmp_path / "right")
    other = LocalCa(tmp_path / "wrong")
    other.ensure()
    async with serving(**files) as (url, _):
        session = Session(CliSettings(url=url, state=tmp_path / "state", ca=authority.file))
        async with Client(session) as client:
            assert (await client.login("viewer", PASSWORD)).role == "viewer"
        # The authority is kept with the login.
        kept = Session(CliSettings(url=url, state=tmp_path / "state"))
        async with Client(kept) as client:
            assert await client.get("/functions") == []
        for ca in (None, other.file):
            stranger = Session(CliSettings(url=url, state=tmp_path / f"state-{ca is None}", ca=ca))
            async with Client(stranger) as client:
                with pytest.raises(Stop, match=r"is not trusted.*--ca") as stopped:
                    await client.login("viewer", PASSWORD)
            assert stopped.value.code is Exit.UNAVAILABLE


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(MmnError, match="cannot be used"):
        tls_context(tmp_path / "x", tmp_path / "x")
    with pytest.raises(Stop, match="cannot be read"):
        trust(str(tmp_path / "none"))


async def talk(url: str, *parts: bytes) -> bytes:
    """Send this on one connection and read until the other side closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    for part in parts:
        writer.write(part)
        await writer.drain()
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


STATUS = f"GET {API}/status HTTP/1.1\r\nHost: x\r\n".encode()


async def test_who_does_not_finish_a_request_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_WITHIN_S", 0.3)
    monkeypatch.setattr(module, "BODY_WITHIN_S", 0.3)
    async with serving() as (url, _):
        assert await talk(url) == b""
        assert await talk(url, STATUS) == b""
        # On a connection that was used well before, too.
        answer = await talk(url, STATUS + b"\r\n" + STATUS)
        assert answer.count(b"HTTP/1.1 200") == 1
        body = f"POST {API}/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
        assert (await talk(url, body.encode() + b"{")).startswith(b"HTTP/1.1 408")


async def test_a_head_that_is_too_large_is_refused() -> None:
    async with serving() as (url, _):
        large = b"X-Large: " + b"x" * (2 * MAX_HEADER_BYTES + 1024) + b"\r\n\r\n"
        assert (await talk(url, STATUS + large)).startswith(b"HTTP/1.1 400")


async def test_the_word_of_a_proxy_counts_only_when_it_is_named() -> None:
    for proxies, judged in (([], 11), (["127.0.0.1"], 12)):
        async with serving(proxies=proxies) as (url, plane), ClientSession() as http:
            refused = 0
            for number in range(12):
                claimed = {"Authorization": "Basic eDp5", "X-Forwarded-For": f"192.0.2.{number}"}
                async with http.post(f"{url}{API}/auth/token", headers=claimed) as told:
                    refused += told.status == 401
                plane.parts.throttle._users.forgive("x")
            assert refused == judged


def test_who_can_reach_the_gateway_is_told_by_its_socket() -> None:
    for host, private in (("127.0.0.1", True), ("0.0.0.0", False)):
        opened = listen(host, 0)
        try:
            assert in_private(opened) is private
        finally:
            opened.close()
