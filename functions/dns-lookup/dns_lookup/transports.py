"""One query over UDP (RFC 1035), TCP (RFC 7766) or TLS (RFC 7858), with the time of every step.

Each function fills in a `Trial` as it goes, so that what was known when time ran out is kept.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Any, Literal

from dns_lookup.wire import Malformed, is_ours
from runtime.sdk import Failure, Stamp, kernelstamps, monotonic_ns, wall_ns

Stage = Literal["connect", "handshake", "query"]

_MOST_BYTES = 65_535
_LENGTH = struct.Struct("!H")


@dataclass(slots=True, eq=False)
class Trial:
    """One attempt and what is known of it. Durations in nanoseconds, None if the step did not come or not end.

    `wire` is the answer's bytes, `ignored` the number of datagrams that were none, `receive_stamp` where the
    time of its arrival was taken, and `stage` the step under way.
    """

    transport: str
    server: str
    stage: Stage = "query"
    connect_ns: int | None = None
    handshake_ns: int | None = None
    query_ns: int | None = None
    duration_ns: int = 0
    wire: bytes | None = None
    ignored: int = 0
    receive_stamp: Stamp = "user"
    tls_version: str | None = None
    truncated: bool = False
    failure: Failure | None = None


async def over_udp(trial: Trial, sockaddr: tuple[Any, ...], query: bytes) -> None:
    """Send one datagram and wait for the one that carries its id. Raises OSError.

    The socket is connected, so the kernel drops what comes from another address or port, and
    reports a closed port. The source port is random (RFC 5452).
    """
    family = socket.AF_INET6 if len(sockaddr) > 2 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(sockaddr)
        kernelstamps.enable(sock, tx=False)
        sent_wall, sent = wall_ns(), monotonic_ns()
        sock.send(query)
        while trial.wire is None:
            await _readable(sock)
            try:
                wire, ancillary, _, _ = sock.recvmsg(_MOST_BYTES, 512)
            except BlockingIOError:
                continue
            read = monotonic_ns()
            if not is_ours(wire, query):
                trial.ignored += 1
                continue
            stamped = kernelstamps.received_ns(ancillary)
            trial.query_ns, trial.receive_stamp = elapsed(read - sent, sent_wall, stamped)
            trial.wire = wire


def elapsed(user_ns: int, sent_wall: int, stamped: int | None) -> tuple[int, Stamp]:
    """Take the kernel's stamp of arrival unless a step of the wall clock spoilt it, and say whose it is.

    The kernel receives before this process reads, so its duration is never negative nor longer than ours.
    """
    if stamped is not None and 0 <= stamped - sent_wall <= user_ns:
        return stamped - sent_wall, "kernel"
    return user_ns, "user"


async def over_stream(
    trial: Trial, sockaddr: tuple[Any, ...], query: bytes, tls: tuple[ssl.SSLContext, str] | None
) -> None:
    """Connect, shake hands if `tls` (context, name in the certificate) is given, and ask. Raises OSError, Malformed."""
    trial.stage = "connect"
    sock = await _connected(trial, sockaddr)
    writer: asyncio.StreamWriter | None = None
    try:
        started = monotonic_ns()
        if tls is None:
            reader, writer = await asyncio.open_connection(sock=sock)
        else:
            trial.stage = "handshake"
            context, name = tls
            reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
            trial.handshake_ns = monotonic_ns() - started
            trial.tls_version = writer.get_extra_info("ssl_object").version()
        trial.stage = "query"
        sent = monotonic_ns()
        writer.write(_LENGTH.pack(len(query)) + query)
        await writer.drain()
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        wire = await reader.readexactly(length)
        trial.query_ns = monotonic_ns() - sent
        trial.wire = wire
    except asyncio.IncompleteReadError as error:
        ended = "within its answer" if error.partial else "before it answered"
        raise Malformed(f"the server closed the connection {ended}") from error
    finally:
        if writer is not None:
            # Nothing more is wanted, and a polite end of TLS would wait for the peer.
            writer.transport.abort()


async def _connected(trial: Trial, sockaddr: tuple[Any, ...]) -> socket.socket:
    family = socket.AF_INET6 if len(sockaddr) > 2 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = monotonic_ns()
        await asyncio.get_running_loop().sock_connect(sock, sockaddr)
        trial.connect_ns = monotonic_ns() - started
    except BaseException:
        sock.close()
        raise
    return sock


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()
    loop.add_reader(descriptor, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


@functools.cache
def tls_context(*, verify: bool) -> ssl.SSLContext:
    """Make the TLS settings, once: reading the trusted certificates takes milliseconds."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["dot"])
    return context
