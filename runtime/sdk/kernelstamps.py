"""Packet timestamps taken by the kernel (Linux SO_TIMESTAMPING), for any socket.

Stamps of received packets come with the packet. Stamps of sent packets come through the
socket's error queue, named by a counter that the kernel keeps per socket; ICMP errors
come the same way on sockets that asked for them with IP_RECVERR or IPV6_RECVERR.
All stamps are nanoseconds on the wall clock, like `wall_ns`.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

from msgspec import Struct

from contracts.results import Stamps

_SO_TIMESTAMPING = 37
_TX_SOFTWARE = 1 << 1
_RX_SOFTWARE = 1 << 3
_SOFTWARE = 1 << 4
_OPT_ID = 1 << 7
_OPT_TSONLY = 1 << 11

_IP_RECVERR = 11
_IPV6_RECVERR = 25
_ORIGIN_ICMP = (2, 3)
_ORIGIN_TIMESTAMPING = 4
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_TIMESPEC = struct.Struct("=qq")

Ancillary = list[tuple[int, int, bytes]]


class Sent(Struct, frozen=True):
    """The kernel handed packet number `key` of this socket, counted from 0, to the device at `at_ns`."""

    key: int
    at_ns: int


class Refusal(Struct, frozen=True):
    """An ICMP error about a packet that this socket sent. `quote` is that packet, from its transport header on."""

    type: int
    code: int
    source: str
    quote: bytes


def enable(sock: socket.socket, *, tx: bool = True) -> Stamps:
    """Ask for kernel stamps and say which are to be had. The counter of sent packets starts from 0.

    With `tx`, the error queue must be read, with `notices`, whenever the socket is readable.
    """
    if sys.platform != "linux":
        return Stamps(tx="user", rx="user")
    receive = _RX_SOFTWARE | _SOFTWARE
    both = receive | _TX_SOFTWARE | _OPT_ID | _OPT_TSONLY
    try:
        # Setting OPT_ID restarts the counter only if it was off before.
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, receive)
        if not tx:
            return Stamps(tx="user", rx="kernel")
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, both)
    except OSError:
        return Stamps(tx="user", rx="user")
    return Stamps(tx="kernel", rx="kernel")


def received_ns(ancillary: Ancillary) -> int | None:
    """Find the receive stamp among the control messages of one `recvmsg`."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPING and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds) or None
    return None


def notices(sock: socket.socket, limit: int = 1024) -> Iterator[Sent | Refusal]:
    """Read the error queue of a non-blocking socket until it is empty."""
    for _ in range(limit):
        try:
            quote, ancillary, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
        except OSError:
            # Empty (EAGAIN), or a pending error of the socket that this call has now cleared.
            return
        if notice := _notice(quote, ancillary):
            yield notice


def _notice(quote: bytes, ancillary: Ancillary) -> Sent | Refusal | None:
    for level, kind, data in ancillary:
        is_error = (level, kind) in {(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)}
        if not is_error or len(data) < _EXTENDED_ERROR.size:
            continue
        _, origin, icmp_type, icmp_code, _, _, number = _EXTENDED_ERROR.unpack_from(data)
        if origin == _ORIGIN_TIMESTAMPING:
            stamp = received_ns(ancillary)
            return None if stamp is None else Sent(number, stamp)
        if origin in _ORIGIN_ICMP:
            return Refusal(icmp_type, icmp_code, _offender(data[_EXTENDED_ERROR.size :]), quote)
    return None


def _offender(sockaddr: bytes) -> str:
    """Read the sockaddr that follows an extended error: who sent the ICMP message."""
    if len(sockaddr) >= 8:
        (family,) = struct.unpack_from("=H", sockaddr)
        if family == socket.AF_INET:
            return socket.inet_ntop(socket.AF_INET, sockaddr[4:8])
        if family == socket.AF_INET6 and len(sockaddr) >= 24:
            return socket.inet_ntop(socket.AF_INET6, sockaddr[8:24])
    return ""
