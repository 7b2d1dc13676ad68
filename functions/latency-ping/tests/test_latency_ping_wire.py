from __future__ import annotations

import struct
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icmplib import ICMPv4Socket, ICMPv6Socket

from latency_ping import wire

Family = Literal[4, 6]
FAMILIES = st.sampled_from([4, 6])
WORD = st.integers(0, 0xFFFF)


def request(family: Family, ident: int, sequence: int, payload: bytes) -> bytes:
    """Build an echo request as the product does, with icmplib, but without a socket."""
    kind = ICMPv4Socket if family == 4 else ICMPv6Socket
    maker = kind.__new__(kind)
    maker._sock = None
    packet: bytes = maker._create_packet(ident, sequence, payload)
    return packet


def ipv4(payload: bytes, *, options: bytes = b"", protocol: int = 1) -> bytes:
    length = 5 + len(options) // 4
    return bytes([0x40 | length]) + bytes(8) + bytes([protocol]) + bytes(10) + options + payload


def ipv6(payload: bytes) -> bytes:
    return bytes([0x60]) + bytes(5) + bytes([58]) + bytes(33) + payload


def reply_to(packet: bytes, family: Family) -> bytes:
    return bytes([0 if family == 4 else 129]) + packet[1:]


@given(family=FAMILIES, ident=WORD, sequence=WORD, payload=st.binary(max_size=200), header=st.booleans())
def test_a_reply_returns_what_the_request_carried(
    family: Family, ident: int, sequence: int, payload: bytes, header: bool
) -> None:
    reply = reply_to(request(family, ident, sequence, payload), family)
    header = header and family == 4
    packet = ipv4(reply, options=bytes(8)) if header else reply
    assert wire.read(packet, family, ip_header=header) == wire.EchoReply(ident, sequence, payload)


@given(ident=WORD, sequence=WORD, payload=st.binary(max_size=60).map(lambda data: data * 2))
def test_the_checksum_of_a_request_makes_the_sum_of_its_words_all_ones(
    ident: int, sequence: int, payload: bytes
) -> None:
    packet = request(4, ident, sequence, payload)
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


@given(family=FAMILIES, ident=WORD, sequence=WORD, quoted=st.integers(0, 16))
def test_an_error_names_the_request_it_quotes(family: Family, ident: int, sequence: int, quoted: int) -> None:
    packet = request(family, ident, sequence, bytes(range(16)))[: 8 + quoted]
    quote = ipv4(packet, options=bytes(4)) if family == 4 else ipv6(packet)
    icmp_type, code = (3, 13) if family == 4 else (1, 3)
    message = struct.pack("!BBHI", icmp_type, code, 0, 0) + quote
    found = wire.read(message, family, ip_header=False)
    assert found == wire.EchoError(icmp_type, code, ident, sequence, bytes(range(quoted)))


@given(packet=st.binary(max_size=120), family=FAMILIES, header=st.booleans())
def test_no_packet_breaks_the_reader(packet: bytes, family: Family, header: bool) -> None:
    wire.read(packet, family, ip_header=header)
    wire.read_quote(packet, family, 3, 1)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(7),
        request(4, 1, 1, b"our own request, as a raw socket sees it on loopback"),
        bytes([5, 1, 0, 0, 127, 0, 0, 1]) + ipv4(request(4, 1, 1, b"")),
        bytes([3, 1, 0, 0, 0, 0, 0, 0]) + ipv4(request(4, 1, 1, b""), protocol=17),
        bytes([3, 1, 0, 0, 0, 0, 0, 0]) + ipv4(reply_to(request(4, 1, 1, b""), 4)),
        bytes([3, 1, 0, 0, 0, 0, 0, 0]) + bytes([0x41]) + ipv4(request(4, 1, 1, b""))[1:],
    ],
    ids=["empty", "short", "request", "redirect", "quotes udp", "quotes a reply", "quoted header of 4 bytes"],
)
def test_what_is_no_answer_is_none(packet: bytes) -> None:
    assert wire.read(packet, 4, ip_header=False) is None


@pytest.mark.parametrize(
    ("family", "icmp_type", "code", "words"),
    [
        (4, 3, 1, "Destination host unreachable"),
        (4, 11, 0, "Time to live exceeded"),
        (6, 1, 4, "Port unreachable"),
        (6, 3, 0, "Hop limit exceeded"),
        (6, 2, 0, "Error type: 2, code: 0"),
    ],
)
def test_errors_are_told_in_words(family: Family, icmp_type: int, code: int, words: str) -> None:
    assert wire.describe(family, icmp_type, code) == words
