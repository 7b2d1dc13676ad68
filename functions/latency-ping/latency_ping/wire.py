"""Bytes to values: echo replies and ICMP errors (RFC 792, RFC 4443). No socket, no clock.

Echo requests are built by icmplib (see `sockets`), which also knows what the errors are called.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from icmplib import ICMPError, ICMPReply

_ECHO = struct.Struct("!BBHHH")
_REPLY = {4: 0, 6: 129}
_REQUEST = {4: 8, 6: 128}
# Redirect and source quench (RFC 6633) are no errors: the packet may well have arrived.
_ERRORS = {4: {3, 11, 12}, 6: {1, 2, 3, 4}}
_PROTOCOL = {4: 1, 6: 58}
_IPV6_HEADER = 40


@dataclass(frozen=True, slots=True)
class EchoReply:
    """An echo reply. `ident` and `sequence` are those of the request it answers."""

    ident: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class EchoError:
    """An ICMP error about an echo request with this `ident` and `sequence`.

    `payload` is as much of the request's payload as the error quotes, often nothing.
    """

    type: int
    code: int
    ident: int
    sequence: int
    payload: bytes


def read(packet: bytes, family: Literal[4, 6], *, ip_header: bool) -> EchoReply | EchoError | None:
    """Read what a socket received. None: neither an echo reply nor an error about an echo request.

    `ip_header`: the packet begins with its IPv4 header, as on raw IPv4 sockets.
    """
    message = _after_ipv4_header(packet) if ip_header else packet
    if message is None or len(message) < _ECHO.size:
        return None
    icmp_type, code, _, ident, sequence = _ECHO.unpack_from(message)
    if icmp_type == _REPLY[family]:
        return EchoReply(ident, sequence, message[_ECHO.size :]) if code == 0 else None
    if icmp_type in _ERRORS[family]:
        quoted = _quoted_message(message[_ECHO.size :], family)
        return None if quoted is None else read_quote(quoted, family, icmp_type, code)
    return None


def read_quote(message: bytes, family: Literal[4, 6], icmp_type: int, code: int) -> EchoError | None:
    """Read the echo request that an ICMP error of this type and code quotes, from its ICMP header on."""
    if len(message) < _ECHO.size:
        return None
    quoted_type, _, _, ident, sequence = _ECHO.unpack_from(message)
    if quoted_type != _REQUEST[family]:
        return None
    return EchoError(icmp_type, code, ident, sequence, message[_ECHO.size :])


def describe(family: Literal[4, 6], icmp_type: int, code: int) -> str:
    """Say in words what an ICMP error means."""
    reply = ICMPReply("", family, 0, 0, icmp_type, code, 0, 0.0)
    try:
        reply.raise_for_status()
    except ICMPError as error:
        return str(error)
    return "Echo reply"


def _quoted_message(quote: bytes, family: Literal[4, 6]) -> bytes | None:
    """Strip the quoted packet's IP header. IPv6 extension headers are not followed: we send none."""
    if family == 4:
        return _after_ipv4_header(quote)
    if len(quote) < _IPV6_HEADER or quote[0] >> 4 != 6 or quote[6] != _PROTOCOL[6]:
        return None
    return quote[_IPV6_HEADER:]


def _after_ipv4_header(packet: bytes) -> bytes | None:
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != _PROTOCOL[4]:
        return None
    length = (packet[0] & 0x0F) * 4
    return packet[length:] if length >= 20 else None
