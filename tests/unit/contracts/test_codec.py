import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import codec
from contracts.errors import InvalidField, Refused
from contracts.jobs import JobRequest
from contracts.spec.generate import MESSAGES


def test_an_error_names_the_field_as_people_write_it() -> None:
    with pytest.raises(InvalidField) as caught:
        codec.decode(b'{"function":"echo","deadline_s":-1}', JobRequest)
    assert caught.value.field == "deadline_s"
    assert "> 0" in caught.value.rule or "> 0.0" in caught.value.rule


def test_a_wrong_version_is_refused_by_name() -> None:
    with pytest.raises(InvalidField) as caught:
        codec.decode(b'{"function":"echo","v":2}', JobRequest)
    assert caught.value.field == "v"


def test_no_content_type_means_json_and_its_case_does_not_matter() -> None:
    assert codec.content_type(None) == codec.JSON
    assert codec.content_type({"content-type": "Application/CBOR; x=1"}) == codec.CBOR
    with pytest.raises(Refused, match="Content-Type") as caught:
        codec.content_type({"Content-Type": "text/xml"})
    assert caught.value.code == 415


def test_a_message_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(Refused) as caught:
        codec.decode(b"[" * 300_000, JobRequest)
    assert caught.value.code == 413


def test_deeply_nested_cbor_is_an_error_and_not_a_crash() -> None:
    data: object = 1
    for _ in range(200):
        data = [data]
    with pytest.raises(InvalidField):
        codec.decode(cbor2.dumps(data), JobRequest, codec.CBOR)


def test_deeply_nested_json_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(InvalidField):
        codec.decode(b'{"function":"echo","params":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", JobRequest)


@given(st.sampled_from(sorted(MESSAGES)), st.sampled_from([codec.JSON, codec.MSGPACK, codec.CBOR]), st.binary())
def test_any_bytes_give_a_value_or_a_refusal(name: str, media: str, data: bytes) -> None:
    with contextlib.suppress(Refused):
        codec.decode(data, MESSAGES[name], media)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(MESSAGES)), st.sampled_from([codec.JSON, codec.MSGPACK, codec.CBOR]), _plain)
def test_any_well_formed_data_gives_a_value_or_a_refusal(name: str, media: str, data: object) -> None:
    with contextlib.suppress(Refused):
        codec.decode(codec.encode(data, media), MESSAGES[name], media)
