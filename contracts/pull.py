"""Pull requests to a JetStream consumer, by hand.

`fetch(n)` of nats-py leaves orphaned requests and stalls after restarts of the server; here
one inbox takes the answers of many requests, and every status the server sends is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import nats.errors
from nats.aio.msg import Msg

from contracts.bus import Bus
from contracts.client import Listening
from contracts.errors import Unavailable

_NS = 1_000_000_000


class PullError(Unavailable):
    """The consumer or its stream is gone, or no server answers: make the consumer again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message, with what its ack subject tells."""

    msg: Msg
    stream_sequence: int
    delivered: int
    at_ns: int
    pending: int

    @property
    def subject(self) -> str:
        return self.msg.subject

    @property
    def data(self) -> bytes:
        return self.msg.data

    @property
    def headers(self) -> Mapping[str, str]:
        return self.msg.headers or {}


def delivery(msg: Msg) -> Delivery:
    """Read `$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>`.

    With a domain there are more tokens in front, so it is read from the end; a random last
    token may follow the domain form.
    """
    parts = msg.reply.split(".")
    tail = parts[4:9] if len(parts) == 9 else parts[6:11]
    delivered, sequence, _, at, pending = (int(part) for part in tail)
    return Delivery(msg, sequence, delivered, at, pending)


class Exhausted:
    """A pull request ended with fewer messages than it asked for: `left` were not delivered."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class PullInbox:
    """One inbox for pull requests to one consumer."""

    def __init__(self, bus: Bus, stream: str, consumer: str) -> None:
        self._bus = bus
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = bus.nc.new_inbox()
        # A subscription's own next_msg() makes two tasks a message, and loses one when cancelled.
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()
        self._subscription: Listening | None = None

    @classmethod
    async def open(cls, bus: Bus, stream: str, consumer: str) -> PullInbox:
        """Subscribe the inbox; requests may follow at once."""
        pull = cls(bus, stream, consumer)
        pull._subscription = await bus.listen(pull._inbox, pull._arrived.put_nowait)
        return pull

    async def request(self, batch: int, *, expires: float = 0.0, heartbeat: float = 0.0) -> None:
        """Ask for `batch` messages. `expires` and `heartbeat` are seconds."""
        ask: dict[str, object] = {"batch": batch}
        if expires:
            ask["expires"] = int(expires * _NS)
        if heartbeat:
            ask["idle_heartbeat"] = int(heartbeat * _NS)
        await self._bus.nc.publish(self._subject, msgspec.json.encode(ask), reply=self._inbox)

    async def next(self, *, within: float) -> Delivery | Exhausted | None:
        """The next message, the end of a request, or None for a heartbeat.

        Raises PullError when nothing at all comes within `within` seconds, or the consumer is gone.
        """
        if self._arrived.empty():
            try:
                async with asyncio.timeout(within):
                    msg = await self._arrived.get()
            except TimeoutError:
                raise PullError(f"no answer to a pull within {within:.1f} s") from None
        else:
            # The usual case under load, without the price of a timer.
            msg = self._arrived.get_nowait()
        headers = msg.headers
        status = headers.get("Status") if headers else None
        if status is None or msg.reply:
            return delivery(msg)
        assert headers is not None
        if status == "100":
            return None
        if status in {"404", "408"} or (status == "409" and "deleted" not in headers.get("Description", "").lower()):
            return Exhausted(int(headers.get("Nats-Pending-Messages", "0") or 0))
        raise PullError(f"pull refused: {status} {headers.get('Description', '')}")

    async def close(self) -> None:
        """Take no more answers."""
        try:
            if self._subscription is not None:
                await self._subscription.unsubscribe()
        except nats.errors.Error:
            # Closed with its connection: there is nothing left to unsubscribe.
            return
