"""A message of a stream, as everything in the gateway that follows streams takes it."""

from __future__ import annotations

from typing import NamedTuple

from contracts import codec
from contracts.errors import Refused
from contracts.pull import Delivery


class Record(NamedTuple):
    """One message of a stream. `incarnation` changes when the stream was made anew."""

    incarnation: str
    sequence: int
    subject: str
    data: bytes
    media: str


def record_of(item: Delivery, incarnation: str) -> Record:
    """What a delivery brought."""
    try:
        media = codec.content_type(item.headers)
    except Refused:
        # Read as the default: it then fits or is reported as unreadable.
        media = codec.JSON
    return Record(incarnation, item.stream_sequence, item.subject, item.data, media)
