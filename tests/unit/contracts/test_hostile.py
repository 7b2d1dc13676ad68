"""Every message of the contract, as somebody would send it who means harm: a value, or a refusal that names the field."""

import time
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import codec, functions, subjects
from contracts.errors import InvalidField, Refused
from contracts.jobs import JobRequest
from contracts.service import error_headers
from contracts.spec.generate import MESSAGES
from runtime.service import AdHoc
from tests.kit.hostile import BEYOND_JSON, HOSTILE, LARGE, MEDIA, VALID, places, replaced
from tests.kit.memory import at_most

KINDS: dict[str, Any] = {**MESSAGES, "AdHoc": AdHoc}
OWN = {
    *("Job", "JobEvent", "JobReceipt", "CancelReply", "Cancelled", "StopReply", "NodeReply"),
    *("Invitation", "Membership", "Members"),
}
"""Made by Anchors, runtimes and the authority only, and read by those who asked them."""
VERSIONED = {name for name, kind in KINDS.items() if "v" in kind.__struct_fields__} - OWN


def judged(kind: Any, data: bytes, media: str) -> Any:
    """The decoded value or the refusal; anything else is a failure, and so is a refusal that says nothing."""
    before = time.monotonic()
    try:
        found = codec.decode(data, kind, media)
    except Refused as refused:
        found = refused
    # Far more than it takes, on any machine, and far less than anything exponential.
    assert time.monotonic() - before < 5
    if isinstance(found, InvalidField):
        assert (found.code, bool(found.field), bool(found.rule)) == (400, True, True)
        assert sum(len(text) for text in error_headers(found).values()) < 2000
    elif isinstance(found, Refused):
        assert found.code == 413
    return found


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize("name", VALID)
def test_every_part_of_a_valid_message_replaced_by_everything_hostile(name: str, media: str) -> None:
    kind, valid = VALID[name]
    for path in places(valid):
        for hostile in HOSTILE:
            found = judged(KINDS[kind], codec.encode(replaced(valid, path, hostile), media), media)
            if not isinstance(found, Refused):
                # What was believed can be passed on, in every encoding.
                for other in MEDIA:
                    codec.encode(found, other)


@pytest.mark.parametrize("name", VALID)
def test_what_only_cbor_can_say_is_refused_wherever_it_stands(name: str) -> None:
    kind, valid = VALID[name]
    for path in places(valid):
        for hostile in BEYOND_JSON:
            found = judged(KINDS[kind], cbor2.dumps(replaced(valid, path, hostile)), codec.CBOR)
            assert isinstance(found, InvalidField), (path, hostile)


@given(st.sampled_from(sorted(VALID)), st.sampled_from(MEDIA), st.data())
def test_valid_messages_with_bytes_turned_cut_off_and_doubled(name: str, media: str, data: st.DataObject) -> None:
    kind, valid = VALID[name]
    encoded = bytearray(codec.encode(valid, media))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded)))
        match data.draw(st.sampled_from(["turn", "cut", "insert", "double"])):
            case "turn" if at < len(encoded):
                encoded[at] = data.draw(st.integers(0, 255))
            case "cut":
                del encoded[at : at + data.draw(st.integers(0, 30))]
            case "insert":
                encoded[at:at] = data.draw(st.binary(max_size=12))
            case _:
                encoded[at:at] = encoded[: data.draw(st.integers(0, 40))]
    judged(KINDS[kind], bytes(encoded), media)


_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=8)
    | st.sampled_from([*HOSTILE, *BEYOND_JSON]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(KINDS)), _anything, st.data())
def test_valid_fields_filled_with_anything_as_cbor(name: str, anything: Any, data: st.DataObject) -> None:
    fields = [field.encode_name for field in msgspec.structs.fields(KINDS[name])]
    body = dict.fromkeys(data.draw(st.lists(st.sampled_from(fields), unique=True)), anything)
    judged(KINDS[name], cbor2.dumps(body), codec.CBOR)


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize("name", sorted(VERSIONED))
@pytest.mark.parametrize("version", [0, 2, -1, 1.5, "1", None, 2**64 - 1])
def test_a_version_that_is_not_known_is_refused_by_name(name: str, media: str, version: Any) -> None:
    _, valid = next(pair for pair in VALID.values() if pair[0] == name)
    found = judged(KINDS[name], codec.encode({**valid, "v": version}, media), media)
    assert isinstance(found, InvalidField)
    assert found.field == "v"
    if isinstance(version, int):
        assert found.rule.endswith(("not known here; 1 is", "out of range"))


@pytest.mark.parametrize("case", LARGE)
@pytest.mark.parametrize("kind", [JobRequest, AdHoc, dict])
def test_a_small_message_that_stands_for_a_large_one(case: str, kind: Any) -> None:
    found = judged(kind, *LARGE[case])
    if not isinstance(found, Refused):
        assert len(codec.encode(found, codec.JSON)) <= len(LARGE[case][0])


COUNTS = [
    *(
        (bytes([head, *size]), codec.MSGPACK)
        for head, size in ((0xDD, b"\xff" * 4), (0xDF, b"\xff" * 4), (0xC6, b"\xff" * 4))
    ),
    *((bytes([head]) + b"\x00\xff\xff\xff\xff\xff\xff\xff", codec.CBOR) for head in (0x5B, 0x7B, 0x9B, 0xBB)),
    *((bytes([head]) + b"\x00\xff\xff\xff", codec.CBOR) for head in (0x5A, 0x7A, 0x9A, 0xBA)),
]
"""Beginnings of a list, a map, a text that says it is far longer than what follows."""


def test_a_length_that_is_told_is_not_believed() -> None:
    # Alone, and where parameters, which may be anything, begin.
    before = {codec.MSGPACK: b"\x81\xa6params", codec.CBOR: b"\xa1\x66params"}
    cases = [
        (start + head + rest, media)
        for head, media in COUNTS
        for start in (b"", before[media])
        for rest in (b"", bytes(64))
    ]
    with at_most(4 * 1024 * 1024):
        for data, media in cases:
            assert isinstance(judged(JobRequest, data, media), Refused)


@pytest.mark.parametrize("value", BEYOND_JSON, ids=repr)
def test_parameters_have_to_survive_every_encoding(value: Any) -> None:
    for inside in (value, [value], {"deep": [{"er": value}]}):
        with pytest.raises(InvalidField, match=r"^params\.a"):
            codec.check_plain({"a": inside}, at="params")


@given(_anything)
def test_what_is_plain_survives_every_encoding(value: Any) -> None:
    try:
        codec.check_plain({"a": value}, at="params")
    except InvalidField:
        return
    for media in MEDIA:
        assert codec.decode(codec.encode({"a": value}, media), dict, media) == {"a": value}


TOKENS = ["", ".", "a.b", "*", ">", "a b", "a\tb", "a\r\nb", "a\x00", "x" * 129, "é", "\u2028", "$SRV", "a/b", "\ud800"]


@pytest.mark.parametrize("token", TOKENS, ids=repr)
def test_no_hostile_token_becomes_part_of_a_subject(token: str) -> None:
    makers: list[Any] = [
        subjects.job_event,
        subjects.result,
        subjects.announce,
        subjects.health,
        subjects.logs,
        subjects.call_any,
        subjects.out_any,
        subjects.progress_of,
        subjects.manage_inbox,
        subjects.worker_inbox,
        lambda one: subjects.call("echo", one),
        lambda one: subjects.call_cancel(one, "n1_a"),
        lambda one: subjects.out("j1", one),
        lambda one: subjects.progress(one, "n1_a"),
        lambda one: subjects.node_control("n1", one),
        lambda one: subjects.service("INFO", one),
        lambda one: subjects.service("INFO", "echo", one),
        lambda one: subjects.queue("live", one, "any"),
    ]
    for make in makers:
        with pytest.raises(InvalidField):
            make(token)
    for check in (functions.check_name, functions.check_version, functions.check_node):
        with pytest.raises(InvalidField):
            check(token)
    with pytest.raises(InvalidField):
        functions.check_labels({"site": f"{token} "})
    with pytest.raises(InvalidField):
        functions.check_labels({f"{token} ": "x"})
