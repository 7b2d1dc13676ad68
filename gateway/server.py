"""The HTTP server: its socket, TLS 1.3 and nothing older, and how long slow clients are waited for."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from contracts import clock
from contracts.errors import MmnError, Refused
from gateway.live.messages import MAX_MESSAGE_BYTES
from gateway.settings import Settings

MAX_HEADER_BYTES = 16 * 1024
CONNECTIONS = 2048
"""More at a time are answered with 503."""
HEAD_WITHIN_S = 10.0
"""A connection must bring the head of its next request within this time."""
BODY_WITHIN_S = 30.0
BODY_BYTES_A_S = 16 * 1024
"""The body's time grows with what has come of it: slower than this is too slow."""


class PatientProtocol(H11Protocol):
    """Uvicorn's protocol, which by itself waits for ever for the head of a request."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # h11 bounds a head only while it is incomplete: a large one that arrives in one read would pass.
        for start in range(0, len(data), MAX_HEADER_BYTES):
            if self.transport.is_closing():
                return
            self._feed(data[start : start + MAX_HEADER_BYTES])
        if self._waits() and self.transport.get_protocol() is self:
            self._watch()
        else:
            self._unwatch()

    def _feed(self, data: bytes) -> None:
        # An upgrade to a WebSocket hands the connection to another protocol in between.
        protocol: Any = self.transport.get_protocol()
        if protocol is self:
            super().data_received(data)
        else:
            protocol.data_received(data)

    def _waits(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _watch(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _unwatch(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        if self._waits():
            self.transport.close()


def steadily(app: ASGIApp) -> ASGIApp:
    """Answer 408 when a request's body comes too slowly."""

    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind != "http":
            await app(scope, receive, send)
            return
        began, got, more = clock.monotonic_ns(), 0, True

        async def timed() -> Any:
            nonlocal got, more
            if not more:
                return await receive()
            left = BODY_WITHIN_S + got / BODY_BYTES_A_S - (clock.monotonic_ns() - began) / 1e9
            try:
                async with asyncio.timeout(max(0.0, left)):
                    told: Any = await receive()
            except TimeoutError:
                raise Refused(408, "too-slow", "the body of the request came too slowly") from None
            got += len(told.get("body", b""))
            more = bool(told.get("more_body", False))
            return told

        await app(scope, timed, send)

    return patient


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.3 with this certificate. Raises MmnError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without this, a key with a password would ask for it on the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise MmnError(f"the certificate {cert} and its key {key} cannot be used: {reason or error}") from error
    return context


class Server(uvicorn.Server):
    """Tells when it listens, and leaves signals to the program."""

    def __init__(self, app: ASGIApp, settings: Settings, *, stop_within_s: float) -> None:
        context = tls_context(settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
        super().__init__(
            uvicorn.Config(
                steadily(app),
                loop="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                http=PatientProtocol,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                limit_concurrency=CONNECTIONS,
                proxy_headers=bool(settings.proxies),
                forwarded_allow_ips=settings.proxies,
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE_BYTES,
                # Compressing for each client alone would undo that a batch is encoded once for all.
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=int(stop_within_s),
                ssl_context_factory=(lambda *_: context) if context else None,
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket, here so that port 0 has an answer. Raises MmnError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(1024)
    except OSError as error:
        opened.close()
        raise MmnError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return opened


def in_private(opened: socket.socket) -> bool:
    """Whether only this machine can reach a listening socket."""
    return ipaddress.ip_address(opened.getsockname()[0]).is_loopback


def url_of(opened: socket.socket, *, tls: bool) -> str:
    """The URL under which a listening socket is reached."""
    host, port = opened.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
