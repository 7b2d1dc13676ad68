import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.nameserver import ZONE, answer


@pytest.mark.parametrize(("kind", "data"), [("A", "127.0.0.1"), ("AAAA", "::1")])
def test_the_one_name_it_knows(kind: str, data: str) -> None:
    query = dns.message.make_query(ZONE.upper(), kind)
    told = answer(query.to_wire())
    assert told is not None
    reply = dns.message.from_wire(told)
    assert query.is_response(reply)
    assert reply.flags & dns.flags.AA
    assert [item.to_text() for item in reply.answer[0]] == [data]


def test_any_other_name_does_not_exist() -> None:
    told = answer(dns.message.make_query("example.com", "A").to_wire())
    assert told is not None
    assert dns.message.from_wire(told).rcode() == dns.rcode.NXDOMAIN


@given(st.binary(max_size=200))
def test_what_is_no_query_gets_no_answer_and_does_no_harm(data: bytes) -> None:
    told = answer(data)
    assert told is None or isinstance(told, bytes)
