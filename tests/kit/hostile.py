"""What somebody would send who means harm: values, messages that stand for larger ones, protocol that is no text."""

import asyncio
import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2

from contracts import codec
from contracts.bus import Bus
from contracts.jobs import MAX_REQUEST_BYTES

GOLDEN = Path(__file__).parents[2] / "contracts" / "golden"
MEDIA = (codec.JSON, codec.MSGPACK, codec.CBOR)
VALID: dict[str, tuple[str, dict[str, Any]]] = {
    path.stem: (path.stem.split(".")[0], json.loads(path.read_text()))
    for path in sorted(GOLDEN.glob("*.json"))
    if not path.stem.startswith("Manifest")
} | {"AdHoc": ("AdHoc", {"params": {"text": "x"}, "job": "j1", "time_left_ns": 5, "seed": 1})}

"""Every kind of message as it should be, by the name of its golden payload."""

HOSTILE: list[Any] = [
    None,
    True,
    "",
    "a.b",
    "*",
    ">",
    "mmn.>",
    "a b",
    "a\r\nPUB x 0\r\n",
    "\x00",
    "\x0b\x0c",
    "x" * 129,
    "ünïcödé",
    "\u202e\u0000",
    "../../etc/passwd",
    "9" * 400,
    -1,
    0,
    2**31,
    2**53 + 1,
    2**63,
    2**64 - 1,
    -(2**63),
    1e308,
    -0.0,
    [],
    {},
    [[]],
    {"": ""},
    {"a": {"b": {"c": []}}},
    "2026-13-45T99:99:99Z",
]
BEYOND_JSON: list[Any] = [
    math.nan,
    math.inf,
    2**64,
    -(2**70),
    b"\x00\xff",
    {1, 2},
    {1: 2},
    {None: 1},
    {(1, 2): 3},
    cbor2.undefined,
    cbor2.CBORTag(9999, "x"),
    cbor2.CBORSimpleValue(99),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside, the whole one included."""
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with one inner value replaced."""
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


LARGE: dict[str, tuple[bytes, str]] = {
    "digits": (b'{"function":"echo","params":{"a":' + b"9" * 250_000 + b"}}", codec.JSON),
    "fraction": (b'{"function":"echo","params":{"a":0.' + b"1" * 250_000 + b"}}", codec.JSON),
    "exponent": (b'{"function":"echo","params":{"a":1e99999}}', codec.JSON),
    "half a surrogate": (b'{"function":"\\ud800"}', codec.JSON),
    "deep list": (b'{"function":"echo","params":{"a":' + b"[" * 120_000, codec.JSON),
    "deep object": (b'{"function":"echo","params":' + b'{"a":' * 40_000, codec.JSON),
    "over the limit": (b'{"function":"' + b"x" * MAX_REQUEST_BYTES + b'"}', codec.JSON),
    "msgpack list of 4 billion": (b"\xdd\xff\xff\xff\xff", codec.MSGPACK),
    "msgpack text of 4 billion": (b"\xdb\xff\xff\xff\xff", codec.MSGPACK),
    "msgpack extension": (b"\xc9\xff\xff\xff\xff\x05", codec.MSGPACK),
    "msgpack deep": (b"\x81\xa6params" * 30_000, codec.MSGPACK),
    "cbor list without end": (b"\x9b\x7f" + b"\xff" * 7, codec.CBOR),
    "cbor bytes without end": (b"\x5b\x7f" + b"\xff" * 7, codec.CBOR),
    "cbor number of 2 million bits": (b"\xc2\x5a\x00\x03\xd0\x90" + b"\xff" * 250_000, codec.CBOR),
    "cbor that holds itself": (b"\xd8\x1c\x81\xd8\x1d\x00", codec.CBOR),
    "cbor expression": (cbor2.dumps(cbor2.CBORTag(35, "(a+)+$")), codec.CBOR),
    "cbor exponent": (cbor2.dumps(cbor2.CBORTag(5, [10**12, 1])), codec.CBOR),
    "cbor of ten to the twentieth": (
        b"\x95\xd8\x1c\x81\x61x" + b"".join(b"\xd8\x1c\x8a" + (b"\xd8\x1d" + cbor2.dumps(n)) * 10 for n in range(20)),
        codec.CBOR,
    ),
    "cbor text a thousand times": (
        cbor2.dumps(cbor2.CBORTag(256, ["y" * 100_000, *[cbor2.CBORTag(25, 0)] * 30_000])),
        codec.CBOR,
    ),
}
"""Messages that are small, and would be large, deep or long to read. Each with its media type."""


def with_headers(subject: bytes, head: bytes, data: bytes = b"hi") -> bytes:
    """A message as protocol, with headers as they are given."""
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(head), len(head) + len(data), head, data)


def unreadable(subject: bytes) -> dict[str, bytes]:
    """Messages as protocol that the server passes on, and a client may stumble over."""
    return {
        "reply that is no text": b"PUB %b \xff\xfe 2\r\nhi\r\n" % subject,
        "reply with a tab": b"PUB %b a\x0bb 2\r\nhi\r\n" % subject,
        "reply with a form feed": b"PUB %b \x0c 2\r\nhi\r\n" % subject,
        "status that is no text": with_headers(subject, b"NATS/1.0 \xff\xff\xff \xff\r\n\r\n"),
        "status that is no number": with_headers(subject, b"NATS/1.0 \xd9\xa3\xd9\xa3 x\r\n\r\n"),
        "headers that end early": with_headers(subject, b"NATS/1.0"),
        "headers that are none": with_headers(subject, b"X"),
        "header with a tab and no value": with_headers(subject, b"NATS/1.0\r\nA\x0b\x00:\r\n:\r\n\xff: \xff\r\n\r\n"),
        "headers with one character": with_headers(subject, b"NATS/1.0 \r\n\r\n"),
    }


def messages(kind: str) -> Iterator[tuple[str, bytes, str]]:
    """Harmful forms of one kind of message: a name, the bytes, their media type."""
    yield from ((name, data, media) for name, (data, media) in LARGE.items())
    for name, (of, valid) in VALID.items():
        if of != kind:
            continue
        for media in MEDIA:
            yield f"{name} version 2 {media}", codec.encode({**valid, "v": 2}, media), media
            yield f"{name} cut off {media}", codec.encode(valid, media)[:-3], media
        for path in places(valid):
            hostile: Any
            for hostile in ("a.b.*.>", "x" * 129, "a\r\nb\x00", -1, 2**63, [], {"a": {"b": []}}):
                yield (
                    f"{name} {path} {hostile!r:.20}",
                    codec.encode(replaced(valid, path, hostile), codec.JSON),
                    codec.JSON,
                )
            for beyond in BEYOND_JSON:
                yield f"{name} {path} {beyond!r:.20}", cbor2.dumps(replaced(valid, path, beyond)), codec.CBOR


async def send_raw(connection: Bus, protocol: bytes) -> None:
    """Send bytes as they are: what no honest client would send."""
    await connection.flush()
    assert connection.nc._transport is not None
    connection.nc._transport.write(protocol)
    async with asyncio.timeout(5):
        await connection.flush()
