"""Publish to a stream and wait until it is stored.

The library's way decodes every answer through two classes and a general-purpose JSON reader; on the path of a
job that is paid three times.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import nats.errors

from contracts import streams
from contracts.bus import Bus
from contracts.errors import Unavailable


class NotStored(Unavailable):
    """The message is not known to be stored. `code` is JetStream's error code, None when nobody answered."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code

    @property
    def came_second(self) -> bool:
        """Whether the expected sequence was wrong: another message was stored first."""
        return self.code == streams.ERROR_WRONG_LAST_SEQUENCE

    @property
    def subject_full(self) -> bool:
        """Whether the bound of its subject refused the message."""
        return self.code == streams.ERROR_SUBJECT_FULL


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    error: _Error | None = None


_read_ack = msgspec.json.Decoder(_Ack).decode


async def store(
    bus: Bus, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None, within: float = 5.0
) -> int:
    """Publish a message that a stream keeps. Returns its sequence there. Raises NotStored."""
    try:
        reply = await bus.request(subject, data, within=within, headers=headers)
        ack = _read_ack(reply.data)
    except nats.errors.NoRespondersError as error:
        raise NotStored("no stream takes it") from error
    except (nats.errors.Error, TimeoutError, msgspec.DecodeError) as error:
        raise NotStored(str(error) or type(error).__name__) from error
    if ack.error is not None:
        raise NotStored(ack.error.description, code=ack.error.err_code)
    if not ack.stream:
        raise NotStored("the answer was not a stream's")
    return ack.seq
