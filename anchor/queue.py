"""The stream JOBS looked at without consuming: one message by its sequence, and its deletion."""

from __future__ import annotations

import base64

import msgspec

from contracts import codec, streams
from contracts.bus import Bus
from contracts.jobs import Job

_WITHIN_S = 5.0


class Queued(msgspec.Struct):
    """A message that waits, or is in some Anchor's hand."""

    seq: int
    subject: str
    data: str = ""

    def job(self) -> Job:
        """The job in it. Raises InvalidField or Refused when it holds none."""
        return codec.decode(base64.b64decode(self.data), Job, codec.MSGPACK, at="job")


class _Found(msgspec.Struct):
    message: Queued | None = None


class Queue:
    """Reads and deletes. Every method raises nats.errors.Error or TimeoutError when the stream does not answer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def at(self, sequence: int) -> Queued | None:
        """The message with this sequence, or None when it is gone."""
        return await self._get({"seq": sequence})

    async def next(self, sequence: int, subject: str) -> Queued | None:
        """The first message of a subject from this sequence on."""
        return await self._get({"seq": sequence, "next_by_subj": subject})

    async def _get(self, wish: dict[str, object]) -> Queued | None:
        ask = msgspec.json.encode(wish)
        reply = await self._bus.request(f"$JS.API.STREAM.MSG.GET.{streams.JOBS}", ask, within=_WITHIN_S)
        return msgspec.json.decode(reply.data, type=_Found).message

    async def delete(self, sequence: int) -> None:
        """Remove a message, also one that is in an Anchor's hand: its later ack changes nothing."""
        ask = msgspec.json.encode({"seq": sequence, "no_erase": True})
        await self._bus.request(f"$JS.API.STREAM.MSG.DELETE.{streams.JOBS}", ask, within=_WITHIN_S)
