"""Bytes of a DNS message to values (RFC 1035 section 4). No socket, no clock.

dnspython reads names and the data of records. The walk over the records is ours, since it must
stay quick for messages made to be slow to read: past `_MOST_RECORDS` of a section they are only counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.wire

_HEADER = struct.Struct("!HHHHHH")
_QR, _OPCODE, _TC = 0x8000, 0x7800, 0x0200
_MOST_RECORDS = 100
_POINTER = 0xC0
_LONGEST_TTL = 0x7FFF_FFFF


class Malformed(Exception):
    """The peer's bytes are not an answer to the question. The message is one phrase without any of them."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first 12 bytes. `counts`: records in question, answer, authority and additional section."""

    ident: int
    flags: int
    counts: tuple[int, int, int, int]

    @property
    def truncated(self) -> bool:
        """The server left records out for want of room (TC)."""
        return bool(self.flags & _TC)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A resource record, or the EDNS record, whose class and TTL mean something else (RFC 6891 section 6.1.3)."""

    name: dns.name.Name
    type: int
    class_: int
    ttl: int
    rdata: dns.rdata.Rdata


@dataclass(slots=True, eq=False)
class Message:
    """A message. `question` is None unless there is exactly one; `cut`: more records came than are kept."""

    header: Header
    question: tuple[dns.name.Name, int, int] | None = None
    sections: tuple[list[RawRecord], list[RawRecord], list[RawRecord]] = field(default_factory=lambda: ([], [], []))
    opt: RawRecord | None = None
    cut: bool = False


def is_ours(wire: bytes, query: bytes) -> bool:
    """Say whether a datagram carries the query's id. Others are stray or forged (RFC 5452 section 9.1)."""
    return len(wire) >= 2 and wire[:2] == query[:2]


def parse(wire: bytes) -> Message:
    """Read an answer. Raises Malformed."""
    if len(wire) < _HEADER.size:
        raise Malformed("it is shorter than a DNS header")
    ident, flags, *counts = _HEADER.unpack_from(wire)
    message = Message(Header(ident, flags, (counts[0], counts[1], counts[2], counts[3])))
    if not flags & _QR:
        raise Malformed("it is a query, not an answer")
    if flags & _OPCODE:
        raise Malformed("it has another opcode than the query")
    parser = dns.wire.Parser(wire, _HEADER.size)
    with _reporting():
        _read_question(message, parser)
    try:
        with _reporting():
            _read_sections(message, parser)
    except Malformed:
        # A truncated message may end within a record, and what came before it counts (RFC 2181 section 9).
        if not message.header.truncated:
            raise
    return message


class _reporting:  # noqa: N801  # reads as a statement: `with _reporting():`
    """Turns what dnspython raises on bad bytes into Malformed."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, dns.exception.DNSException | ValueError | struct.error):
            raise Malformed(f"it cannot be parsed ({type(error).__name__})") from error


def _read_question(message: Message, parser: dns.wire.Parser) -> None:
    for _ in range(message.header.counts[0]):
        if message.header.counts[0] == 1:
            name = parser.get_name(decompress=True)
            kind, class_ = parser.get_struct("!HH")
            message.question = (name, kind, class_)
        else:
            _skip_name(parser)
            parser.get_struct("!HH")


def _read_sections(message: Message, parser: dns.wire.Parser) -> None:
    for kept, count in zip(message.sections, message.header.counts[1:], strict=True):
        for record in _records(message, parser, count):
            if record.type != dns.rdatatype.OPT:
                kept.append(record)
            elif kept is not message.sections[2] or message.opt is not None or record.name != dns.name.root:
                raise Malformed("its EDNS record is misplaced")
            else:
                message.opt = record
    if parser.remaining():
        raise Malformed("bytes follow its last record")


def _records(message: Message, parser: dns.wire.Parser, count: int) -> Iterator[RawRecord]:
    for index in range(count):
        start = parser.current
        _skip_name(parser)
        kind, class_, ttl, length = parser.get_struct("!HHIH")
        if index >= _MOST_RECORDS and kind != dns.rdatatype.OPT:
            message.cut = True
            parser.get_bytes(length)
            continue
        end_of_header = parser.current
        parser.seek(start)
        name = parser.get_name(decompress=True)
        parser.seek(end_of_header)
        with parser.restrict_to(length):
            rdata = dns.rdata.from_wire_parser(
                dns.rdataclass.RdataClass.make(class_), dns.rdatatype.RdataType.make(kind), parser
            )
        if kind != dns.rdatatype.OPT and ttl > _LONGEST_TTL:
            ttl = 0  # RFC 2181 section 8
        yield RawRecord(name, kind, class_, ttl, rdata)


def _skip_name(parser: dns.wire.Parser) -> None:
    while length := parser.get_uint8():
        if length >= _POINTER:
            parser.get_uint8()
            return
        parser.get_bytes(length)
