"""Directed calls to workers: one reply inbox, and an end as soon as the worker is gone.

A plain request would wait out its timeout when a worker dies with the call in hand. Here the
registry's news of a lost instance ends every call that it had.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from nats.aio.msg import Msg

from anchor.registry import Instance
from contracts import codec, service, subjects
from contracts.bus import Bus
from contracts.errors import MmnError
from contracts.jobs import HEADER_QUEUE_NS, HEADER_RUN_NS, Call, CallReply


class NotListening(MmnError):
    """Nobody serves the instance's work subject: it never saw the call."""


class WorkerLost(MmnError):
    """The worker went away, or stayed silent, with the call in hand. It may have run."""


@dataclass(frozen=True, slots=True)
class Served:
    """A call that ended with a stored result."""

    reply: CallReply
    queue_ns: int
    run_ns: int


def _header_ns(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "0")
    return int(text) if text.isdecimal() else 0


class Caller:
    """Makes calls and matches replies. `open` once before the first call."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._inbox = bus.nc.new_inbox()
        self._count = 0
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._of_instance: defaultdict[str, set[asyncio.Future[Msg]]] = defaultdict(set)

    async def open(self) -> None:
        """Subscribe to the replies."""
        await self._bus.nc.subscribe(f"{self._inbox}.*", cb=self._arrived)

    async def _arrived(self, msg: Msg) -> None:
        future = self._waiting.get(msg.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(msg)

    def lost(self, instance: Instance, reason: str) -> None:
        """End every call that this instance has in hand."""
        for future in self._of_instance.pop(instance.id, set()):
            if not future.done():
                future.set_exception(WorkerLost(f"worker {instance.id} was lost: {reason}"))

    async def call(self, instance: Instance, call: Call, *, within: float) -> Served:
        """Run one job on one instance.

        Raises NotListening, WorkerLost, or the Refused that the worker answered.
        """
        self._count += 1
        token = str(self._count)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        self._of_instance[instance.id].add(future)
        try:
            await self._bus.nc.publish(
                subjects.call(instance.function, instance.id),
                codec.encode(call, codec.MSGPACK),
                reply=f"{self._inbox}.{token}",
                headers={codec.HEADER: codec.MSGPACK},
            )
            async with asyncio.timeout(within):
                msg = await future
        except TimeoutError:
            raise WorkerLost(f"worker {instance.id} did not answer within {within:.1f} s") from None
        finally:
            self._waiting.pop(token, None)
            self._of_instance[instance.id].discard(future)
            if not self._of_instance[instance.id]:
                del self._of_instance[instance.id]
        headers = msg.headers or {}
        if headers.get("Status") == "503":
            raise NotListening(f"worker {instance.id} does not listen")
        service.raise_refusal(headers)
        reply = codec.decode(msg.data, CallReply, codec.content_type(headers), at="reply")
        return Served(reply, _header_ns(headers, HEADER_QUEUE_NS), _header_ns(headers, HEADER_RUN_NS))
