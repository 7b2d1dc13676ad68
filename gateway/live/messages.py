"""What travels over the feed's WebSocket, in both directions, as JSON text."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct, field

from contracts import streams

Topic = Literal["results", "progress", "events", "health", "modules", "logs"]

STREAMS: dict[Topic, str] = {
    "results": streams.RESULTS,
    "progress": streams.PROGRESS,
    "events": streams.EVENTS,
    "health": streams.HEALTH,
    "modules": streams.MODULES,
    "logs": streams.LOGS,
}
"""Which stream carries a topic."""

JOB_TOPICS: frozenset[Topic] = frozenset({"results", "progress", "events"})
"""Topics whose items belong to one job each."""

Cursor: TypeAlias = tuple[str, int]
"""A place in a topic: the stream's incarnation, and the sequence of the last item seen."""

SUBPROTOCOL = "mmn.v1"
BEARER = "bearer."
MAX_MESSAGE_BYTES = 16 * 1024

CLOSE_GOING_AWAY = 1001
CLOSE_TRY_LATER = 1013
CLOSE_BAD_MESSAGE = 4400
CLOSE_NOT_ADMITTED = 4401
CLOSE_FORBIDDEN = 4403


class Auth(Struct, frozen=True, tag_field="type", tag="auth", forbid_unknown_fields=True):
    """The first message of a client that did not bring its token as a subprotocol.

    Later it renews: the socket then lasts as long as this token of the same user, and nothing else changes.
    """

    token: str


class Subscribe(Struct, frozen=True, tag_field="type", tag="subscribe", forbid_unknown_fields=True, kw_only=True):
    """Replaces the subscription. `job` and `function` narrow the topics that know them.

    `since` says what was seen last, per topic, as a sequence or as the cursor of a batch; all
    after it that is still kept comes first. With `job`, its topics begin at the start by themselves.
    """

    topics: Annotated[list[Topic], Meta(min_length=1, max_length=6)]
    job: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = None
    function: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}$")] | None = None
    # A bound on the integer beside the tuple would crash msgspec 0.22 in the garbage collector.
    since: dict[Topic, Cursor | int] = field(default_factory=dict)


class Ping(Struct, frozen=True, tag_field="type", tag="ping", forbid_unknown_fields=True):
    """Asks for a `pong`, for clients that cannot see the protocol's own."""


ClientMessage: TypeAlias = Auth | Subscribe | Ping


class Item(Struct, frozen=True):
    """One message of a stream as it was published."""

    topic: Topic
    seq: int
    subject: str
    data: Raw


class Batch(Struct, frozen=True, tag_field="type", tag="batch", kw_only=True):
    """Some items, and for each topic among them where it stands after them."""

    items: list[Item]
    cursors: dict[Topic, Cursor]


class Gap(Struct, frozen=True, tag_field="type", tag="gap", kw_only=True):
    """Items of a topic were left out. What follows begins behind `cursor`.

    `slow`: the client read too slowly. `expired`: `since` lies before what is kept.
    `incarnation`: the stream was made anew, so old sequences mean nothing.
    """

    topic: Topic
    reason: Literal["slow", "expired", "incarnation"]
    missed: int | None
    cursor: Cursor | None


class Subscribed(Struct, frozen=True, tag_field="type", tag="subscribed", kw_only=True):
    """The subscription stands; batches follow."""

    topics: list[Topic]
    job: str | None
    function: str | None


class Ready(Struct, frozen=True, tag_field="type", tag="ready", kw_only=True):
    """The client is admitted, until the token ends in so many seconds."""

    user: str
    role: str
    expires_in: int


class Renewed(Struct, frozen=True, tag_field="type", tag="renewed", kw_only=True):
    """The socket lasts until the new token ends, in so many seconds."""

    role: str
    expires_in: int


class Pong(Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a ping."""


class Trouble(Struct, frozen=True, tag_field="type", tag="error", kw_only=True):
    """Why the socket is about to be closed."""

    reason: str
    detail: str


_read: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def encode(message: Struct) -> str:
    """Encode a message as the text of one WebSocket frame."""
    return msgspec.json.encode(message).decode()


def read(text: str | bytes) -> ClientMessage:
    """Decode a client's message. Raises msgspec.DecodeError or its ValidationError."""
    return _read.decode(text)
