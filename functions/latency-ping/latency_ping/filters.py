"""Kernel filters for raw ICMP sockets: wake this process for its own packets only.

A raw socket sees every ICMP packet of the host. Without a filter each pinger would be woken
by the replies of all others, and a busy host would overflow the socket's buffer.
"""

from __future__ import annotations

import socket
import struct
from typing import Literal

from runtime.sdk import icmp
from runtime.sdk.icmp import Program

_ICMP_FILTER = 1
_SOL_RAW = 255

_LOAD_HEADER_LENGTH = 0xB1  # x = 4 * (packet[k] & 15)
_BYTE, _HALF = 0x30, 0x28  # a = packet[k]
_BYTE_X, _HALF_X = 0x50, 0x48  # a = packet[x + k]
_AND, _SHIFT, _ADD_X, _TO_X = 0x54, 0x64, 0x0C, 0x07
_EQUAL, _JUMP, _RETURN = 0x15, 0x05, 0x06


def attach(sock: socket.socket, family: Literal[4, 6], ident: int) -> None:
    """Let through echo replies with this identifier, and ICMP errors that quote a request with it."""
    if family == 4:
        passed = 1 << 0 | 1 << 3 | 1 << 11 | 1 << 12
        # Checked before the packet is even copied for this socket, so cheaper than the program below.
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~passed & 0xFFFFFFFF))
    icmp.attach_filter(sock, ipv4(ident) if family == 4 else ipv6(ident))


def ipv4(ident: int) -> Program:
    """Classic BPF over a packet that begins with its IPv4 header."""
    return [
        (_LOAD_HEADER_LENGTH, 0, 0, 0),
        (_BYTE_X, 0, 0, 0),  # the ICMP type
        (_EQUAL, 10, 0, 0),  # echo reply: to its identifier
        (_EQUAL, 2, 0, 3),  # unreachable: to the quote
        (_EQUAL, 1, 0, 11),  # time exceeded: to the quote
        (_EQUAL, 0, 10, 12),  # parameter problem: to the quote; anything else: drop
        (_BYTE_X, 0, 0, 8),  # the quoted packet's own header length
        (_AND, 0, 0, 15),
        (_SHIFT, 0, 0, 2),
        (_ADD_X, 0, 0, 0),
        (_TO_X, 0, 0, 0),
        (_HALF_X, 0, 0, 12),  # the quoted identifier
        (_JUMP, 0, 0, 1),
        (_HALF_X, 0, 0, 4),  # the reply's identifier
        (_EQUAL, 0, 1, ident),
        (_RETURN, 0, 0, 0xFFFF),
        (_RETURN, 0, 0, 0),
    ]


def ipv6(ident: int) -> Program:
    """Classic BPF over a packet that begins with its ICMPv6 header."""
    return [
        (_BYTE, 0, 0, 0),  # the ICMPv6 type
        (_EQUAL, 6, 0, 129),  # echo reply: to its identifier
        (_EQUAL, 3, 0, 1),  # unreachable: to the quote
        (_EQUAL, 2, 0, 2),  # packet too big: to the quote
        (_EQUAL, 1, 0, 3),  # time exceeded: to the quote
        (_EQUAL, 0, 5, 4),  # parameter problem: to the quote; anything else: drop
        (_HALF, 0, 0, 52),  # the quoted identifier, behind a plain IPv6 header
        (_JUMP, 0, 0, 1),
        (_HALF, 0, 0, 4),  # the reply's identifier
        (_EQUAL, 0, 1, ident),
        (_RETURN, 0, 0, 0xFFFF),
        (_RETURN, 0, 0, 0),
    ]
