"""Bytes to values and back: JSON by default, MessagePack between services, CBOR on request.

The `Content-Type` header decides; none means JSON, so that `nats req` works by hand.
JSON is RFC 8259, CBOR is RFC 8949. Every decoder has a size limit, and every error is an
`InvalidField` that names the field and the rule.
"""

from __future__ import annotations

import math
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
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_SHOWN_KEY = 64
_SHOWN_PATH = 200

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
        return cbor2.dumps(msgspec.to_builtins(value, str_keys=True))
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
            found = cbor2.loads(data, max_depth=_MAX_DEPTH)
            check_plain(found, at=at, most=len(data))
            return msgspec.convert(found, kind, str_keys=True)
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error, at=at) from error
    except (msgspec.DecodeError, cbor2.CBORDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidField(at or "message", f"is not valid {media.rpartition('/')[2]}: {error}") from error


def check_plain(value: Any, *, at: str = "", most: float = math.inf) -> None:
    """Raise InvalidField unless JSON can hold the value as it is, so that it survives every encoding.

    CBOR and MessagePack know more: bytes, dates, sets, tags, numbers that are none, keys that are not text; and
    only JSON knows whole numbers of any length. `most` bounds the size, in values and characters.
    """
    size, waiting = 0, [(value, at, 0)]
    while waiting:
        value, at, depth = waiting.pop()
        size += 1
        if depth > _MAX_DEPTH:
            raise InvalidField(at[:_SHOWN_PATH], f"is nested deeper than {_MAX_DEPTH} levels")
        if isinstance(value, dict):
            for key, item in value.items():
                size += len(key) if isinstance(key, str) else 0
                waiting.append((item, f"{at}.{str(key)[:_SHOWN_KEY]}".lstrip("."), depth + 1))
        elif isinstance(value, list):
            waiting.extend((item, f"{at}[{index}]", depth + 1) for index, item in enumerate(value))
        elif isinstance(value, str):
            size += len(value)
        if size > most:
            raise InvalidField(at[:_SHOWN_PATH] or "message", "holds more than was sent: no references, please")
        if rule := _broken(value):
            raise InvalidField(at[:_SHOWN_PATH] or "message", rule)


def _broken(value: Any) -> str:
    """The rule that a value breaks by itself, or nothing."""
    match value:
        case None | bool() | str() | list():
            return ""
        case int():
            return "" if _SMALLEST <= value <= _LARGEST else "a whole number must fit into 64 bits"
        case float():
            return "" if math.isfinite(value) else "must be a finite number"
        case dict():
            return "" if all(isinstance(key, str) for key in value) else "every key must be text"
        case _:
            return f"must be null, true, false, a number, text, a list or an object, not {type(value).__name__}"


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
    if path == ".v" and rule.startswith("Invalid enum value"):
        rule = "is a version of this message that is not known here; 1 is"
    if missing := MISSING_FIELD.search(rule):
        rule, path = "is required", f"{path}.{missing[1]}"
    name = (at + path).lstrip(".") or "message"
    return InvalidField(name, rule[:1].lower() + rule[1:])
