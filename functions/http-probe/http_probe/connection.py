"""One connection to the one address that was checked: TCP, then TLS, each with its own time.

aiohttp would time both as one and choose the address itself. So the connection is made here, with
aiohttp's protocol on it, and `OneConnection` hands it to a session.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from runtime.sdk import CannotMeasure, monotonic_ns

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

# Longer than any probe, whose own time limit then says in which phase it ended.
_HANDSHAKE_SECONDS = 600.0


class Handler(ResponseHandler):
    """aiohttp's protocol, which also notes when the request went out, when the first byte came, and how it ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.sent_at: int | None = None
        self.first_byte_at: int | None = None
        self.lost: BaseException | None = None
        self.ended = False

    def data_received(self, data: bytes) -> None:
        if data and self.first_byte_at is None:
            self.first_byte_at = monotonic_ns()
        super().data_received(data)

    async def read(self) -> tuple[RawResponseMessage, StreamReader]:
        # aiohttp asks for the response as soon as it has written a request without a body.
        if self.sent_at is None:
            self.sent_at = monotonic_ns()
        return await super().read()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended = True
        self.lost = exc
        super().connection_lost(exc)


class Spent(aiohttp.ClientError):
    """The session wants a second connection, to send a request again whose connection was lost."""


class OneConnection(aiohttp.BaseConnector):
    """Gives a session the connection that was made before, once: the one in `handler`.

    It overrides what aiohttp's own connectors override (`UnixConnector`, for one), which is not documented.
    """

    def __init__(self) -> None:
        super().__init__(force_close=True)
        self.handler: Handler | None = None

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        del req, traces, timeout
        handler, self.handler = self.handler, None
        if handler is None:
            raise Spent
        return handler


async def connect(sockaddr: tuple[Any, ...]) -> socket.socket:
    """Open a TCP connection. Raises OSError."""
    family = socket.AF_INET6 if len(sockaddr) > 2 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


async def take_over(sock: socket.socket, tls: tuple[ssl.SSLContext, str] | None) -> tuple[asyncio.Transport, Handler]:
    """Put aiohttp's protocol on a connected socket, after a handshake if `tls` (settings, name) is given.

    Raises OSError. The socket belongs to the transport afterwards, also on failure.
    """
    loop = asyncio.get_running_loop()

    def protocol() -> Handler:
        return Handler(loop)

    if tls is None:
        return await loop.create_connection(protocol, sock=sock)
    context, name = tls
    return await loop.create_connection(
        protocol, sock=sock, ssl=context, server_hostname=name, ssl_handshake_timeout=_HANDSHAKE_SECONDS
    )


@functools.cache
def tls_context(*, verify: bool) -> ssl.SSLContext:
    """Make the TLS settings, once: reading the trusted certificates takes milliseconds.

    Raises CannotMeasure if this node has no trusted certificates.
    """
    paths = ssl.get_default_verify_paths()
    if verify and not (paths.cafile or paths.capath):
        raise CannotMeasure("this node trusts no certificates: install ca-certificates, or set verify_tls to false")
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
