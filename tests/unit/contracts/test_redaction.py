"""Planted secrets of every kind never come out, wherever they stand; what was measured does."""

import base64
import string

from hypothesis import given
from hypothesis import strategies as st
from nats.micro.request import ERROR_HEADER

from contracts import redaction
from contracts.access import tokens
from contracts.errors import Refused
from contracts.service import error_headers
from tests.kit.secrets import NAMES, PLANTED, SECRET

WORDS = st.text(string.ascii_lowercase + " ,.;()[]\n", max_size=40)
_KEY = tokens.new_user_key()
_CREDS = tokens.creds_file("eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl", _KEY)


def shapes(text: str) -> list[object]:
    return [text, {"x": text}, {"x": [{"y": [text]}]}, [[text]], {"headers": {"X-Any": text}}]


@given(PLANTED, WORDS, WORDS)
def test_a_planted_credential_comes_out_neither_of_lines_nor_of_results(
    planted: tuple[str, str], before: str, after: str
) -> None:
    credential, secret = planted
    hidden = base64.b64encode(secret.encode()).decode()
    for shape in shapes(f"{before} {credential} {after}"):
        for told in (str(redaction.redact(shape)), str(redaction.conceal(shape))):
            assert secret not in told
            assert hidden not in told


@given(st.sampled_from(NAMES), SECRET)
def test_a_value_under_a_telling_name_comes_out_of_neither(name: str, secret: str) -> None:
    for shape in ({name: secret}, {"headers": {name.upper(): secret}}, {"deep": [{name: [secret]}]}):
        assert secret not in str(redaction.redact(shape))
        assert secret not in str(redaction.conceal(shape))


def test_nats_credentials_come_out_of_neither() -> None:
    seed = tokens.seed(_KEY)
    for text in (_CREDS, seed, f"seed {seed} refused"):
        for told in (redaction.redact_text(text), str(redaction.conceal({"x": text}))):
            assert seed not in told
            assert "eyJ0eXAi" not in told


MEASURED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.ip_addresses().map(str) | WORDS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["target", "rtt_ns", "count", "seed", "node"]), inner)
    ),
    max_leaves=20,
).filter(lambda value: not (isinstance(value, str)))


def _numbers_under_seed(value: object) -> object:
    """The same with every `seed` a number, as a parameter of that name is."""
    if isinstance(value, dict):
        return {key: 7 if key == "seed" else _numbers_under_seed(item) for key, item in value.items()}
    return [_numbers_under_seed(item) for item in value] if isinstance(value, list) else value


@given(MEASURED)
def test_what_was_measured_is_not_damaged(value: object) -> None:
    told = _numbers_under_seed(value)
    assert redaction.conceal(told) == told


def test_a_result_keeps_addresses_and_answers_of_name_servers() -> None:
    plain = {
        "target": "192.0.2.1",
        "client": "192.0.2.7",
        "seed": 42,
        "url": "https://example.org/a?b=c#d",
        "answers": ["v=DMARC1; rua=mailto:postmaster@example.org", "2001:db8::1"],
    }
    assert redaction.conceal(plain) == plain


def test_what_lies_too_deep_is_hidden_as_a_whole() -> None:
    deep: object = "s3cret"
    for _ in range(5000):
        deep = {"x": [deep]}
    for told in (redaction.redact(deep), redaction.conceal(deep)):
        assert redaction.HIDDEN in str(told)
        assert "s3cret" not in str(told)


PIECES = [
    "://",
    "@",
    "=",
    "Basic ",
    "bearer ",
    "TOKEN ",
    "eyJ",
    ".",
    "authorization:",
    "passwd",
    "secret",
    "api_key",
    "u:p",
    "\u0130",
    "\u017f",
]


@given(st.lists(st.sampled_from([*PIECES, "abcdefgh", _KEY.seed.decode(), " ", "host"]), max_size=12).map("".join))
def test_the_first_look_misses_nothing_that_a_pattern_would_find(text: str) -> None:
    found = text
    for pattern, instead in redaction._CREDENTIALS:
        found = pattern.sub(instead, found)
    assert redaction.conceal_text(text) == found


def test_no_credential_is_cut_in_half() -> None:
    secret = "hunter2hunter2"
    for before in range(16 * 1024 - 40, 16 * 1024):
        text = f"{'x' * before} https://ada:{secret}@host/"
        assert secret[:4] not in redaction.redact_text(text)
    refusal = Refused(400, "bad", f"{'x' * 985} https://ada:{secret}@host/")
    assert secret[:2] not in error_headers(refusal)[ERROR_HEADER]
