"""From an answer to what the report says about it (RFC 1035, RFC 6891, RFC 8914). No socket, no clock.

Whatever a server sends ends as a value or as `Malformed`, and what the report keeps of it is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.OPT

from dns_lookup.wire import Malformed, Message, RawRecord, parse
from runtime.sdk import Code, Failure, Report, failed

_MOST_RDATA = 2048
_MOST_TEXT = 65_536
_MOST_OPTIONS = 8
_MOST_OPTION_TEXT = 256

# These may come without the question, from servers that could not or would not read it.
_QUESTION_OPTIONAL = {dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED}


class Record(Report, frozen=True, rename={"class_": "class"}):
    """One resource record, in presentation format (RFC 1035 section 5). `ttl` in seconds.

    `cut`: the record's data was too long and is not complete here.
    """

    name: str
    type: str
    class_: str
    ttl: int
    rdata: str
    cut: bool = False


class Counts(Report, frozen=True):
    """Records per section as the header says. `additional` counts the EDNS record, which is not listed."""

    question: int
    answer: int
    authority: int
    additional: int


class Edns(Report, frozen=True):
    """The server's EDNS record (RFC 6891): version, largest UDP payload it takes, DO as it was returned."""

    version: int
    payload_bytes: int
    dnssec_ok: bool


class ExtendedError(Report, frozen=True):
    """An extended DNS error (RFC 8914). `name` is None for a code that is not registered."""

    code: int
    name: str | None
    text: str


class Nsid(Report, frozen=True):
    """Name server identifier (RFC 5001). `text` is None unless it is printable ASCII."""

    hex: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that fits the question, as far as the report keeps it.

    `records_cut`: more records came than are listed. `truncated`: the server set TC.
    """

    rcode: int
    rcode_name: str
    flags: list[str]
    counts: Counts
    answers: list[Record]
    authority: list[Record]
    additional: list[Record]
    records_cut: bool
    truncated: bool
    edns: Edns | None
    extended_errors: list[ExtendedError]
    nsid: Nsid | None


def read(wire: bytes, query: dns.message.QueryMessage) -> Answer:
    """Read an answer to `query`. Raises Malformed."""
    message = parse(wire)
    if message.header.ident != query.id:
        raise Malformed("it has another id than the query")
    options = _options(message)
    ednsflags = 0 if message.opt is None else message.opt.ttl
    rcode = dns.rcode.from_flags(message.header.flags, ednsflags)
    _check_question(message, query, rcode)
    room = _Room(_MOST_TEXT)
    sections = [room.records(section) for section in message.sections]
    question, answer, authority, additional = message.header.counts
    return Answer(
        rcode=int(rcode),
        rcode_name=dns.rcode.to_text(rcode),
        flags=dns.flags.to_text(dns.flags.Flag(message.header.flags)).split(),
        counts=Counts(question=question, answer=answer, authority=authority, additional=additional),
        answers=sections[0],
        authority=sections[1],
        additional=sections[2],
        records_cut=message.cut or room.cut,
        truncated=message.header.truncated,
        edns=_edns(message),
        extended_errors=_extended_errors(options),
        nsid=_nsid(options),
    )


def failure_of(answer: Answer) -> Failure | None:
    """Say what a server's answer means for the name. NXDOMAIN and refusals are measured, so the data comes too."""
    if answer.rcode == dns.rcode.NOERROR:
        return None
    said = answer.rcode_name
    for extended in answer.extended_errors[:1]:
        said += f", extended error {extended.code}" + (f" {extended.name}" if extended.name else "")
    if answer.rcode == dns.rcode.NXDOMAIN:
        return failed(Code.NAME_NOT_FOUND, f"the name does not exist: {said}", stage="answer")
    return failed(Code.NAME_FAILURE, f"the server answered {said}", stage="answer")


def _check_question(message: Message, query: dns.message.QueryMessage, rcode: dns.rcode.Rcode) -> None:
    if message.header.counts[0] == 0 and rcode in _QUESTION_OPTIONAL:
        return
    (asked,) = query.question
    # Names compare without regard to case (RFC 4343).
    if message.question != (asked.name, asked.rdtype, asked.rdclass):
        raise Malformed("it answers another question")


class _Room:
    """Gives out the characters that the records of one answer may take."""

    def __init__(self, characters: int) -> None:
        self.left = characters
        self.cut = False

    def records(self, section: Iterable[RawRecord]) -> list[Record]:
        listed: list[Record] = []
        for raw in section:
            if self.left <= 0:
                self.cut = True
                break
            record = _record(raw)
            self.left -= len(record.rdata) + len(record.name)
            listed.append(record)
        return listed


def _record(raw: RawRecord) -> Record:
    try:
        text = raw.rdata.to_text()
    except (dns.exception.DNSException, ValueError):
        # RFC 3597: any record can be written as its bytes.
        text = raw.rdata.to_generic().to_text()
    return Record(
        name=raw.name.to_text(),
        type=dns.rdatatype.to_text(dns.rdatatype.RdataType.make(raw.type)),
        class_=dns.rdataclass.to_text(dns.rdataclass.RdataClass.make(raw.class_)),
        ttl=raw.ttl,
        rdata=text[:_MOST_RDATA],
        cut=len(text) > _MOST_RDATA,
    )


def _options(message: Message) -> tuple[dns.edns.Option, ...]:
    rdata = None if message.opt is None else message.opt.rdata
    return rdata.options if isinstance(rdata, dns.rdtypes.ANY.OPT.OPT) else ()


def _edns(message: Message) -> Edns | None:
    opt = message.opt
    if opt is None:
        return None
    # RFC 6891 section 6.1.3: the class is a size, and the TTL holds version and flags.
    return Edns(version=opt.ttl >> 16 & 0xFF, payload_bytes=opt.class_, dnssec_ok=bool(opt.ttl & dns.flags.DO))


def _extended_errors(options: Iterable[dns.edns.Option]) -> list[ExtendedError]:
    found = [option for option in options if isinstance(option, dns.edns.EDEOption)]
    return [
        ExtendedError(
            code=int(option.code),
            name=option.code.name.lower().replace("_", " ") if option.code in dns.edns.EDECode else None,
            text=(option.text or "")[:_MOST_OPTION_TEXT],
        )
        for option in found[:_MOST_OPTIONS]
    ]


def _nsid(options: Iterable[dns.edns.Option]) -> Nsid | None:
    for option in options:
        if isinstance(option, dns.edns.NSIDOption):
            raw = option.nsid[:_MOST_OPTION_TEXT]
            printable = all(0x20 <= byte < 0x7F for byte in raw)
            return Nsid(hex=raw.hex(), text=raw.decode("ascii") if printable and raw else None)
    return None
