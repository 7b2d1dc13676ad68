"""Bytes to values and back: JSON by default, MessagePack between services, CBOR on request.

The `Content-Type` header decides; none means JSON, so that `nats req` works by hand.
JSON is RFC 8259, CBOR is RFC 8949. Every decoder has a size limit, and every error is an
`InvalidField` that names the field and the rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import cbor2
import msgspec

from contracts.errors import InvalidField, Refused
from contracts.jobs import MAX_REQUEST_BYTES

T = TypeVar("T")

JSON = "application/json"
MSGPACK = "application/msgpack"
CBOR = "application/cbor"
HEADER = "Content-Type"
_MEDIA = frozenset({JSON, MSGPACK, CBOR})
_MAX_DEPTH = 64

MISSING_FIELD = re.compile(r"missing required field `([^`]+)`")
"""How msgspec says that a field is not there."""
_AT = re.compile(r"^(?P<rule>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)


def content_type(headers: Mapping[str, str] | None) -> str:
    """The media type a message declares; JSON when it declares none. Raises Refused (415)."""
    if not headers:
        return JSON
    usual = headers.get(HEADER)
    if usual in _MEDIA:
        return usual
    # nats-py looks headers up by exact case, and people write them as they like.
    declared = next((value for key, value in headers.items() if key.lower() == "content-type"), JSON)
    media = declared.partition(";")[0].strip().lower()
    if media not in _MEDIA:
        raise Refused(
            415, "unsupported-media-type", f"Content-Type: must be {JSON}, {MSGPACK} or {CBOR}, not {media!r}"
        )
    return media


def encode(value: object, media: str = MSGPACK) -> bytes:
    """Encode a Struct or plain data."""
    if media == JSON:
        return msgspec.json.encode(value)
    if media == CBOR:
        return cbor2.dumps(msgspec.to_builtins(value))
    return msgspec.msgpack.encode(value)


def decode(data: bytes, kind: type[T], media: str = JSON, *, limit: int = MAX_REQUEST_BYTES, at: str = "") -> T:
    """Decode and check against a type. `at` prefixes the field path in errors.

    Raises InvalidField for anything that does not fit, Refused (413) over `limit` bytes.
    """
    if len(data) > limit:
        raise Refused(413, "too-large", f"{at or 'message'}: {len(data)} bytes are over the limit of {limit}")
    try:
        if media == JSON:
            return msgspec.json.decode(data, type=kind)
        if media == CBOR:
            return msgspec.convert(cbor2.loads(data, max_depth=_MAX_DEPTH), kind)
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error, at=at) from error
    except (msgspec.DecodeError, cbor2.CBORDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidField(at or "message", f"is not valid {media.rpartition('/')[2]}: {error}") from error


def convert(value: Any, kind: type[T], *, at: str = "") -> T:
    """Check plain data against a type, with the same errors as `decode`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise invalid(error, at=at) from error


def invalid(error: msgspec.ValidationError, *, at: str = "") -> InvalidField:
    """Turn msgspec's message into one that names the field as people write it: `params.count`."""
    found = _AT.match(str(error))
    rule, path = (found["rule"], found["path"] or "") if found else (str(error), "")
    if missing := MISSING_FIELD.search(rule):
        rule, path = "is required", f"{path}.{missing[1]}"
    name = (at + path).lstrip(".") or "message"
    return InvalidField(name, rule[:1].lower() + rule[1:])
