"""Directed calls to workers: one reply inbox, and an end as soon as the worker is gone.

A plain request would wait out its timeout when a worker dies with the call in hand. Here the
registry's news of a lost instance ends every call that it had.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
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


class ReplyLost(MmnError):
    """This Anchor's connection was interrupted: the server no longer knows where the answer goes."""


@dataclass(frozen=True, slots=True)
class Served:
    """A call that ended with a stored result."""

    reply: CallReply
    queue_ns: int
    run_ns: int


_LOOK_EVERY_S = 5.0


def _header_ns(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "0")
    return int(text) if text.isdecimal() else 0


class Caller:
    """Makes calls and matches replies. `open` once before the first call.

    `has_result` tells whether a job's result is stored: asked while a call takes long, since a
    worker whose own connection was interrupted stores its result but cannot answer any more.
    """

    def __init__(self, bus: Bus, has_result: Callable[[str], Awaitable[bool]]) -> None:
        self._bus = bus
        self._has_result = has_result
        self._inbox = bus.nc.new_inbox()
        self._count = 0
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._of_instance: defaultdict[str, set[asyncio.Future[Msg]]] = defaultdict(set)

    async def open(self) -> None:
        """Subscribe to the replies."""
        await self._bus.nc.subscribe(f"{self._inbox}.*", cb=self._arrived)
        self._bus.on_reconnect(self._reconnected)

    def _reconnected(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ReplyLost("the connection to NATS was interrupted"))

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

        Raises NotListening, WorkerLost, ReplyLost, or the Refused that the worker answered.
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
            msg = await self._answer(future, call.job, instance, within)
        finally:
            self._waiting.pop(token, None)
            self._of_instance[instance.id].discard(future)
            if not self._of_instance[instance.id]:
                del self._of_instance[instance.id]
        return self._served(instance, msg)

    async def _answer(self, future: asyncio.Future[Msg], job: str, instance: Instance, within: float) -> Msg:
        left = within
        while True:
            done, _ = await asyncio.wait([future], timeout=min(left, _LOOK_EVERY_S))
            if done:
                return future.result()
            left -= _LOOK_EVERY_S
            if left <= 0:
                raise WorkerLost(f"worker {instance.id} did not answer within {within:.1f} s")
            if await self._has_result(job):
                raise ReplyLost("the result is stored, the answer did not arrive")

    @staticmethod
    def _served(instance: Instance, msg: Msg) -> Served:
        headers = msg.headers or {}
        if headers.get("Status") == "503":
            raise NotListening(f"worker {instance.id} does not listen")
        service.raise_refusal(headers)
        reply = codec.decode(msg.data, CallReply, codec.content_type(headers), at="reply")
        return Served(reply, _header_ns(headers, HEADER_QUEUE_NS), _header_ns(headers, HEADER_RUN_NS))
