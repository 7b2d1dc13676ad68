"""Bytes of an answer to values: no socket."""

from __future__ import annotations

import struct
from typing import Any

import dns.message
import dns.rrset
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dns_lookup import LookupParams, measure
from dns_lookup.answer import Answer, failure_of, read
from dns_lookup.question import asked_name, make_query
from dns_lookup.transports import elapsed
from dns_lookup.wire import Malformed
from runtime.sdk import Function, InvalidField

FUNCTION = Function.load(measure)
QUERY = make_query(LookupParams(name="host.example"), 0x1234)
GOOD = dns.message.make_response(QUERY)
for _text in ("300 IN A 192.0.2.1", '300 IN TXT "a" "b"', "300 IN SVCB 1 . alpn=h2", "5 IN CAA 0 issue ca.example"):
    _ttl, _class, _type, _data = _text.split(" ", 3)
    GOOD.answer.append(dns.rrset.from_text("host.example.", int(_ttl), _class, _type, _data))
WIRE = GOOD.to_wire()

# dnspython imports the code for a type of record when it first meets one.
UNHURRIED = settings(deadline=None)


def read_or_none(wire: bytes) -> Answer | None:
    try:
        return read(wire, QUERY)
    except Malformed:
        return None


@UNHURRIED
@given(st.binary(max_size=600))
@example(b"")
def test_any_bytes_are_an_answer_or_malformed(wire: bytes) -> None:
    read_or_none(wire)
    read_or_none(WIRE[:4] + wire)
    read_or_none(WIRE[:12] + wire)


@UNHURRIED
@given(st.lists(st.tuples(st.integers(0, len(WIRE) - 1), st.integers(0, 255)), max_size=6), st.integers(0, len(WIRE)))
def test_a_damaged_answer_is_an_answer_or_malformed(damage: list[tuple[int, int]], length: int) -> None:
    wire = bytearray(WIRE)
    for place, byte in damage:
        wire[place] = byte
    answer = read_or_none(bytes(wire))
    if answer is not None:
        failure_of(answer)
    read_or_none(bytes(wire[:length]))


@UNHURRIED
@given(st.integers(0, 65535), st.binary(max_size=80))
def test_records_of_any_type_and_content_have_a_text(kind: int, data: bytes) -> None:
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
    read_or_none(struct.pack("!HHHHHH", 0x1234, 0x8180, 1, 1, 0, 0) + QUERY.to_wire()[12:30] + record)


def test_the_good_answer_is_read_in_full() -> None:
    answer = read(WIRE, QUERY)
    assert [(one.type, one.rdata) for one in answer.answers] == [
        ("A", "192.0.2.1"),
        ("TXT", '"a" "b"'),
        ("SVCB", '1 . alpn="h2"'),
        ("CAA", '0 issue "ca.example"'),
    ]
    assert (answer.counts.answer, answer.counts.additional, answer.records_cut) == (4, 1, False)
    assert failure_of(answer) is None


def test_a_compression_loop_ends() -> None:
    looping = struct.pack("!HHHHHH", 0x1234, 0x8180, 1, 0, 0, 0) + b"\x01a\xc0\x0c\x00\x01\x00\x01"
    with pytest.raises(Malformed, match="cannot be parsed"):
        read(looping, QUERY)


def test_a_message_made_to_be_slow_to_read_is_read_in_part() -> None:
    # Thousands of records whose names all point to one with the most labels.
    start = 12 + 18
    slow = b"\x01a" * 110 + b"\0" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)
    pointer = struct.pack("!H", 0xC000 | start)
    count = 1 + (65_000 - len(slow)) // 14
    slow += (pointer + struct.pack("!HHIH", 5, 1, 60, 2) + pointer) * (count - 1)
    answer = read(struct.pack("!HHHHHH", 0x1234, 0x8180, 1, count, 0, 0) + QUERY.to_wire()[12:30] + slow, QUERY)
    assert (answer.counts.answer, len(answer.answers), answer.records_cut) == (count, 100, True)


def test_an_edns_record_after_all_others_is_found_and_elsewhere_refused() -> None:
    option = b"\0" + struct.pack("!HHIHHH6s", 41, 1232, 0x0100_8000, 10, 3, 6, b"fra-42")
    others = (b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)) * 120
    question = QUERY.to_wire()[12:30]
    answer = read(struct.pack("!HHHHHH", 0x1234, 0x8180, 1, 0, 0, 121) + question + others + option, QUERY)
    assert answer.rcode_name == "BADVERS"
    assert answer.edns is not None
    assert (answer.edns.version, answer.edns.dnssec_ok) == (0, True)
    assert answer.nsid is not None
    assert answer.nsid.text == "fra-42"
    with pytest.raises(Malformed, match="misplaced"):
        read(struct.pack("!HHHHHH", 0x1234, 0x8180, 1, 1, 0, 0) + question + option, QUERY)
    with pytest.raises(Malformed, match="misplaced"):
        read(struct.pack("!HHHHHH", 0x1234, 0x8180, 1, 0, 0, 2) + question + option * 2, QUERY)


def test_a_long_record_is_cut_and_says_so() -> None:
    response = dns.message.make_response(QUERY)
    response.answer.append(dns.rrset.from_text("host.example.", 1, "IN", "TXT", " ".join(["x" * 200] * 20)))
    (record,) = read(response.to_wire(max_size=65_535), QUERY).answers
    assert record.cut
    assert len(record.rdata) == 2048


def test_a_question_in_other_capitals_is_the_same() -> None:
    shouting = WIRE[:12] + WIRE[12:30].replace(b"host", b"HOST") + WIRE[30:]
    assert read(shouting, QUERY).rcode == 0


@pytest.mark.parametrize(
    ("user_ns", "sent", "stamped", "expected"),
    [
        (100, 1000, 1080, (80, "kernel")),
        (100, 1000, 990, (100, "user")),
        (100, 1000, 1101, (100, "user")),
        (100, 1000, None, (100, "user")),
    ],
)
def test_a_stamp_that_cannot_be_right_is_not_used(
    user_ns: int, sent: int, stamped: int | None, expected: tuple[int, str]
) -> None:
    assert elapsed(user_ns, sent, stamped) == expected


@pytest.mark.parametrize(
    ("name", "kind", "asked"),
    [
        (".", "NS", "."),
        ("Host.Example.", "A", "Host.Example."),
        ("192.0.2.1", "PTR", "1.2.0.192.in-addr.arpa."),
        ("192.0.2.1", "A", "192.0.2.1."),
        ("1.2.0.192.in-addr.arpa", "PTR", "1.2.0.192.in-addr.arpa."),
        ("_sip._tcp.example", "SRV", "_sip._tcp.example."),
        ("a\\.b.example", "A", "a\\.b.example."),
    ],
)
def test_the_name_that_is_asked(name: str, kind: Any, asked: str) -> None:
    assert asked_name(LookupParams(name=name, type=kind)).to_text() == asked


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "params.name"),
        ({"name": ""}, "params.name"),
        ({"name": "a b"}, "params.name"),
        ({"name": "a\n"}, "params.name"),
        ({"name": "a..b"}, "params.name"),
        ({"name": "x" * 64}, "params.name"),
        ({"name": ".".join(["x" * 60] * 5)}, "params.name"),
        ({"name": "\\999"}, "params.name"),
        ({"name": "münchen.example"}, "params.name"),
        ({"name": "a", "type": "BOGUS"}, "params.type"),
        ({"name": "a", "class": "HS"}, "params.class"),
        ({"name": "a", "server": "user@host"}, "params.server"),
        ({"name": "a", "server": "ns\n"}, "params.server"),
        ({"name": "a", "tls_hostname": "n\n"}, "params.tls_hostname"),
        ({"name": "a", "port": 0}, "params.port"),
        ({"name": "a", "transport": "quic"}, "params.transport"),
        ({"name": "a", "edns_bytes": 511}, "params.edns_bytes"),
        ({"name": "a", "edns": False, "nsid": True}, "params.edns"),
        ({"name": "a", "timeout_ms": 9}, "params.timeout_ms"),
        ({"name": "a", "retries": 6}, "params.retries"),
        ({"name": "a", "nmae": "b"}, "params.nmae"),
    ],
)
def test_parameters_outside_their_bounds_are_refused_by_name(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        FUNCTION.decode(params)
    assert refused.value.field == field


def test_defaults_are_those_of_the_readme() -> None:
    assert FUNCTION.encode(LookupParams(name="a")) == {
        "name": "a",
        "type": "A",
        "class": "IN",
        "server": "system",
        "port": None,
        "transport": "udp",
        "tcp_fallback": True,
        "tls_hostname": None,
        "tls_verify": True,
        "recursion": True,
        "checking_disabled": False,
        "edns": True,
        "edns_bytes": 1232,
        "dnssec_ok": False,
        "nsid": False,
        "timeout_ms": 2000,
        "retries": 1,
        "family": "auto",
        "keep_message": False,
    }


def test_the_schema_names_the_fields_as_the_wire_does() -> None:
    assert "class" in FUNCTION.params_schema["properties"]
    assert {"class", "answers", "attempts"} <= set(FUNCTION.result_schema["properties"])
