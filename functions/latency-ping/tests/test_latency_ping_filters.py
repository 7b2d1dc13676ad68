"""The kernel's filter programs, run by a small interpreter: no privilege needed."""

from __future__ import annotations

import struct

import pytest

from latency_ping import filters
from runtime.sdk.icmp import Program

IDENT = 0xBEEF


def passes(program: Program, packet: bytes) -> bool:  # noqa: C901, PLR0912 - one case per instruction
    """Run a program as the kernel would: reading beyond the packet drops it."""
    a = x = at = 0
    while True:
        code, jump_true, jump_false, k = program[at]
        at += 1
        try:
            match code:
                case 0xB1:
                    x = 4 * (packet[k] & 15)
                case 0x30:
                    a = packet[k]
                case 0x50:
                    a = packet[x + k]
                case 0x28:
                    (a,) = struct.unpack_from("!H", packet, k)
                case 0x48:
                    (a,) = struct.unpack_from("!H", packet, x + k)
                case 0x54:
                    a &= k
                case 0x64:
                    a <<= k
                case 0x0C:
                    a += x
                case 0x07:
                    x = a
                case 0x15:
                    at += jump_true if a == k else jump_false
                case 0x05:
                    at += k
                case 0x06:
                    return k > 0
        except (IndexError, struct.error):
            return False


def echo(icmp_type: int, ident: int) -> bytes:
    return struct.pack("!BBHHH", icmp_type, 0, 0, ident, 7) + b"payload"


def ipv4(payload: bytes, words: int = 5) -> bytes:
    return bytes([0x40 | words]) + bytes(words * 4 - 1) + payload


def ipv6(payload: bytes) -> bytes:
    return bytes([0x60]) + bytes(39) + payload


@pytest.mark.parametrize("words", [5, 7, 15])
def test_ipv4_lets_own_replies_and_errors_through(words: int) -> None:
    program = filters.ipv4(IDENT)
    assert passes(program, ipv4(echo(0, IDENT), words))
    for icmp_type in (3, 11, 12):
        assert passes(program, ipv4(bytes([icmp_type]) + bytes(7) + ipv4(echo(8, IDENT), words), words))


def test_ipv4_drops_everything_else() -> None:
    program = filters.ipv4(IDENT)
    assert not passes(program, ipv4(echo(0, IDENT + 1)))
    assert not passes(program, ipv4(echo(8, IDENT)))
    assert not passes(program, ipv4(bytes([3]) + bytes(7) + ipv4(echo(8, IDENT + 1))))
    assert not passes(program, ipv4(bytes([5]) + bytes(7) + ipv4(echo(8, IDENT))))
    assert not passes(program, ipv4(b""))


def test_ipv6_lets_own_replies_and_errors_through_and_drops_everything_else() -> None:
    program = filters.ipv6(IDENT)
    assert passes(program, echo(129, IDENT))
    for icmp_type in (1, 2, 3, 4):
        assert passes(program, bytes([icmp_type]) + bytes(7) + ipv6(echo(128, IDENT)))
        assert not passes(program, bytes([icmp_type]) + bytes(7) + ipv6(echo(128, IDENT + 1)))
    assert not passes(program, echo(129, IDENT + 1))
    assert not passes(program, echo(128, IDENT))
    assert not passes(program, echo(135, IDENT))
