"""The author of every bundle that tests deploy, whom the nodes and networks of the kit trust."""

import hashlib

import nkeys

from contracts import signatures
from contracts.access import tokens
from contracts.functions import Signature, Upload

WHEN = "2030-01-01T00:00:00.000000Z"


def author(number: int) -> nkeys.KeyPair:
    """One of many authors: the same number is the same key in every process."""
    return nkeys.from_seed(bytearray(nkeys.encode_seed(bytes([number]) * 32, nkeys.PREFIX_BYTE_USER)))


AUTHOR = author(1)
STRANGER = author(2)
TRUSTED = tokens.public(AUTHOR)
"""What the author is trusted by."""
UNTRUSTED = tokens.public(STRANGER)


def signature_of(wheel: bytes, by: nkeys.KeyPair = AUTHOR) -> Signature:
    """What an author's key says of a wheel."""
    return signatures.sign(hashlib.sha256(wheel).hexdigest(), by)


def headers(wheel: bytes, by: nkeys.KeyPair = AUTHOR) -> dict[str, str]:
    """The headers of an upload."""
    line = signatures.line(signature_of(wheel, by))
    return {"Content-Type": "application/octet-stream", signatures.HEADER: line}


def uploaded(digest: str, by: nkeys.KeyPair = AUTHOR) -> dict[str, Upload]:
    """The part of a deployment that tells how the wheel with this digest came."""
    return {digest: Upload(signature=signatures.sign(digest, by), by="tester", at=WHEN)}
