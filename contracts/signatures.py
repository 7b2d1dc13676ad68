"""Signatures of bundles: an author's Ed25519 key over the SHA-256 of a wheel, for this purpose alone.

An author is the public half of a key, written as a NATS user key (`U...`, which has a checksum). What is
signed begins with words of its own, so that no signature for another purpose is one of a bundle. One line of
text holds a signature, in a file beside the wheel and in the header of an upload:

    mmn-bundle-v1 <author> <64 bytes in base64>
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

import nkeys
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from contracts.access import tokens
from contracts.errors import InvalidField
from contracts.functions import Signature

HEADER = "Mmn-Signature"
"""Header of an upload."""
FILE_SUFFIX = ".sig"
"""What a file with a signature is called, behind the whole name of the wheel."""

_WORD = "mmn-bundle-v1"
_PURPOSE = b"mmn bundle v1\0"
_DIGEST_BYTES = 32
_SIGNATURE_BYTES = 64
_LONGEST_TEXT = 512


def new_author() -> nkeys.KeyPair:
    """A fresh key of an author."""
    return tokens.new_user_key()


def author_of(seed: str | bytes) -> nkeys.KeyPair:
    """An author's key from the seed in its file, `SU...`. Raises ValueError, which never holds the seed."""
    raw = seed.encode() if isinstance(seed, str) else seed
    try:
        key = nkeys.from_seed(bytearray(raw.strip()))
        check_author(tokens.public(key))
    except (nkeys.NkeysError, InvalidField, ValueError, binascii.Error):
        raise ValueError("not an author's key: one line that begins with SU is expected") from None
    return key


def check_author(text: str, *, at: str = "author") -> str:
    """Return an author's public key that has the right form, or raise InvalidField."""
    try:
        if not text.startswith("U"):
            raise ValueError("it must begin with U")
        tokens.raw_public(text)
    except ValueError as error:
        shown = text[:60]
        raise InvalidField(at, f"{shown!r} is not an author's public key: {error}", reason="bad-author") from error
    return text


def sign(digest: str, key: nkeys.KeyPair) -> Signature:
    """Sign the wheel with this SHA-256 (hex)."""
    value = base64.b64encode(bytes(key.sign(_message(digest)))).decode()
    return Signature(author=tokens.public(key), value=value)


def line(signature: Signature) -> str:
    """A signature as the line of text that a file and a header hold."""
    return f"{_WORD} {signature.author} {signature.value}"


def read(text: str, *, at: str = "signature") -> Signature:
    """A signature from its line. Raises InvalidField; whether it is right is for `verify` to say."""
    words = text.split() if len(text) <= _LONGEST_TEXT else []
    if len(words) != 3 or words[0] != _WORD:
        raise _broken(at, f"must be one line: {_WORD}, the author's key, 64 bytes in base64")
    found = Signature(author=check_author(words[1], at=f"{at}.author"), value=words[2])
    _raw(found, at)
    return found


def verify(signature: Signature, digest: str, *, at: str = "signature") -> str:
    """Return the author who signed the wheel with this SHA-256 (hex), or raise InvalidField.

    Whoever has the wheel computes the digest from its bytes; one that somebody else told proves nothing.
    """
    author = check_author(signature.author, at=f"{at}.author")
    try:
        VerifyKey(tokens.raw_public(author)).verify(_message(digest), _raw(signature, at))
    except (CryptoError, ValueError) as error:
        rule = f"is not {author}'s for the wheel with SHA-256 {digest[:12]}"
        raise InvalidField(at, rule, reason="wrong-signature") from error
    return author


def is_own(author: str | None, trusted: Collection[str]) -> bool:
    """Whether a bundle is the operator's own, or that of somebody trusted like that. Else it is a third party's."""
    return author is not None and author in trusted


def read_authors(text: str, *, at: str) -> dict[str, str]:
    """Authors and their names from a list: a key a line, then a name if there is one; `#` begins a comment.

    Raises InvalidField, which names the line.
    """
    found: dict[str, str] = {}
    for number, whole in enumerate(text.splitlines(), 1):
        key, *name = whole.partition("#")[0].split(maxsplit=1)[:2] or [""]
        if key:
            found[check_author(key, at=f"{at}, line {number}")] = " ".join(name).strip()
    return found


def _message(digest: str) -> bytes:
    raw = bytes.fromhex(digest)
    if len(raw) != _DIGEST_BYTES:
        raise ValueError("not a SHA-256")
    return _PURPOSE + raw


def _raw(signature: Signature, at: str) -> bytes:
    try:
        raw = base64.b64decode(signature.value, validate=True)
    except ValueError as error:
        raise _broken(f"{at}.value", "is not base64") from error
    # Base64 has several spellings of some bytes; one of them is enough.
    if len(raw) != _SIGNATURE_BYTES or base64.b64encode(raw).decode() != signature.value:
        raise _broken(f"{at}.value", f"must be {_SIGNATURE_BYTES} bytes in base64")
    return raw


def _broken(at: str, rule: str) -> InvalidField:
    return InvalidField(at, rule, reason="bad-signature")
