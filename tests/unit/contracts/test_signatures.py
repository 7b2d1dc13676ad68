"""What a signature proves, and what it does not."""

import base64
import hashlib

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from contracts import signatures
from contracts.access import tokens
from contracts.errors import InvalidField
from contracts.functions import Signature
from tests.kit.authors import AUTHOR, STRANGER, TRUSTED, UNTRUSTED, author

DIGEST = hashlib.sha256(b"a wheel").hexdigest()
OTHER = hashlib.sha256(b"another wheel").hexdigest()
SIGNED = signatures.sign(DIGEST, AUTHOR)
LINE = signatures.line(SIGNED)


def of(message: bytes, key: nkeys.KeyPair = AUTHOR) -> Signature:
    """A signature by this key of anything at all."""
    return Signature(author=tokens.public(key), value=base64.b64encode(bytes(key.sign(message))).decode())


def test_a_signature_says_who_signed_this_wheel() -> None:
    assert signatures.verify(SIGNED, DIGEST) == TRUSTED
    assert signatures.verify(signatures.read(LINE), DIGEST) == TRUSTED
    assert signatures.read(f"  {LINE}\n") == SIGNED


WRONG = {
    "of another wheel": signatures.sign(OTHER, AUTHOR),
    "another's, under this name": Signature(author=TRUSTED, value=signatures.sign(DIGEST, STRANGER).value),
    "this one's, under another name": Signature(author=UNTRUSTED, value=SIGNED.value),
    "of the digest alone": of(bytes.fromhex(DIGEST)),
    "of the digest as text": of(DIGEST.encode()),
    "for another purpose": of(b"mmn bundle v2\0" + bytes.fromhex(DIGEST)),
    "of a server's nonce": of(b"nonce"),
    "nothing but zeros": Signature(author=TRUSTED, value=base64.b64encode(bytes(64)).decode()),
}


@pytest.mark.parametrize("case", WRONG)
def test_no_other_signature_is_one_of_this_wheel(case: str) -> None:
    with pytest.raises(InvalidField) as refused:
        signatures.verify(WRONG[case], DIGEST)
    assert (refused.value.field, refused.value.reason) == ("signature", "wrong-signature")


def test_a_key_that_signs_everything_is_no_author() -> None:
    """A point of small order has signatures that fit any message."""
    weak = bytes([1]) + bytes(31)
    body = bytearray([nkeys.PREFIX_BYTE_USER]) + weak
    text = base64.b32encode(bytes(body) + nkeys.crc16(body).to_bytes(2, "little")).decode().rstrip("=")
    forged = Signature(author=text, value=base64.b64encode(weak + bytes(32)).decode())
    with pytest.raises(InvalidField):
        signatures.verify(forged, DIGEST)


def respelt() -> str:
    """The same 64 bytes in another base64: the last four bits of the last letter are of no account."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = SIGNED.value[-3]
    return SIGNED.value[:-3] + letters[letters.index(last) ^ 1] + "=="


MALFORMED = {
    "empty": "",
    "words": "this is no signature at all",
    "another version": LINE.replace("v1", "v2"),
    "without its first word": LINE.partition(" ")[2],
    "truncated": LINE[:-5],
    "truncated to whole letters": LINE[:-8],
    "too long": f"{LINE}AAAA",
    "spelt otherwise": f"mmn-bundle-v1 {TRUSTED} {respelt()}",
    "not base64": LINE.replace(SIGNED.value, "!" * 88),
    "a line too many": f"{LINE} {LINE}",
    "endless": "A" * 100_000,
    "author truncated": f"mmn-bundle-v1 {TRUSTED[:-1]} {SIGNED.value}",
    "author mistyped": f"mmn-bundle-v1 {TRUSTED[:-1]}{'A' if TRUSTED[-1] != 'A' else 'B'} {SIGNED.value}",
    "author in small letters": f"mmn-bundle-v1 {TRUSTED.lower()} {SIGNED.value}",
    "author is an account": f"mmn-bundle-v1 {tokens.public(tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT))} {SIGNED.value}",
    "author is not ASCII": f"mmn-bundle-v1 Ü{TRUSTED[1:]} {SIGNED.value}",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_signature_is_refused_by_field(case: str) -> None:
    with pytest.raises(InvalidField) as refused:
        signatures.read(MALFORMED[case])
    assert refused.value.field.startswith("signature")
    assert refused.value.reason in {"bad-signature", "bad-author"}
    assert len(refused.value.message) < 300


@given(st.text(max_size=200))
def test_any_text_is_a_signature_or_refused(text: str) -> None:
    try:
        found = signatures.read(text)
    except InvalidField:
        return
    assert signatures.line(found) == " ".join(text.split())


@given(st.binary(min_size=64, max_size=64), st.sampled_from([TRUSTED, UNTRUSTED]))
def test_no_64_bytes_sign_for_an_author_but_those_of_the_key(raw: bytes, who: str) -> None:
    with pytest.raises(InvalidField):
        signatures.verify(Signature(author=who, value=base64.b64encode(raw).decode()), DIGEST)


@given(st.integers(0, 511))
def test_a_single_changed_bit_breaks_a_signature(bit: int) -> None:
    raw = bytearray(base64.b64decode(SIGNED.value))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidField):
        signatures.verify(Signature(author=TRUSTED, value=base64.b64encode(raw).decode()), DIGEST)


@given(st.text(max_size=80))
def test_a_record_with_any_author_and_any_value_is_refused_by_field(text: str) -> None:
    for altered in (Signature(author=text, value=SIGNED.value), Signature(author=TRUSTED, value=text)):
        with pytest.raises(InvalidField):
            signatures.verify(altered, DIGEST)


def test_the_signature_is_that_of_any_ed25519_tool_over_the_documented_message() -> None:
    raw = SigningKey(bytes([1]) * 32).sign(b"mmn bundle v1\0" + bytes.fromhex(DIGEST)).signature
    assert base64.b64encode(raw).decode() == SIGNED.value


def test_a_key_comes_back_from_its_seed() -> None:
    again = signatures.author_of(tokens.seed(author(7)) + "\n")
    assert signatures.sign(DIGEST, again) == signatures.sign(DIGEST, author(7))


@pytest.mark.parametrize(
    "seed",
    ["", "SU", TRUSTED, tokens.seed(AUTHOR)[:-1], tokens.seed(tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT)), "ü"],
    ids=["empty", "short", "public", "truncated", "an account's", "not ASCII"],
)
def test_what_is_no_seed_of_an_author_is_refused_without_being_told(seed: str) -> None:
    with pytest.raises(ValueError, match="begins with SU") as refused:
        signatures.author_of(seed)
    assert len(seed) < 10 or seed not in str(refused.value)


def test_a_list_of_authors_has_names_and_comments() -> None:
    text = f"# ours\n{TRUSTED} ada of the lab # since May\n\n  {UNTRUSTED}\n"
    assert signatures.read_authors(text, at="authors") == {TRUSTED: "ada of the lab", UNTRUSTED: ""}
    with pytest.raises(InvalidField, match="authors, line 2"):
        signatures.read_authors(f"{TRUSTED}\nUNKNOWN\n", at="authors")


def test_ones_own_is_what_a_trusted_author_signed_and_nothing_else() -> None:
    assert signatures.is_own(TRUSTED, {TRUSTED})
    assert not signatures.is_own(UNTRUSTED, {TRUSTED})
    assert not signatures.is_own(None, {TRUSTED})
    assert not signatures.is_own(TRUSTED, set())
