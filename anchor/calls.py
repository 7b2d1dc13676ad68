"""Directed calls to workers: one reply inbox, and an end as soon as the worker is gone.

A plain request would wait out its timeout when a worker dies with the call in hand. Here the
registry's news of a lost instance ends every call that it had.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import nats.errors
import structlog
from nats.aio.msg import Msg

from anchor.registry import Instance
from contracts import codec, service, subjects
from contracts.bus import Bus
from contracts.errors import MmnError, Refused, Unavailable
from contracts.jobs import HEADER_QUEUE_NS, HEADER_RUN_NS, Call, CallReply, Cancelled
from contracts.replies import Expected, Replies

log = structlog.get_logger(__name__)
STOP_WITHIN_S = 2.0


class NotListening(MmnError):
    """Nobody serves the instance's work subject: it never saw the call."""


class WorkerLost(MmnError):
    """The worker went away, or stayed silent, with the call in hand. It may have run."""


class BadAnswer(MmnError):
    """The worker answered with something that is no answer to this call."""


class ReplyLost(MmnError):
    """This Anchor's connection was interrupted: the server no longer knows where the answer goes."""


@dataclass(frozen=True, slots=True)
class Served:
    """A call that ended with a stored result."""

    reply: CallReply
    queue_ns: int
    run_ns: int


class _AnswerLost(Exception):
    """The worker's connection was interrupted: it works on, but may not answer any more."""


_MOST_DIGITS = 19
_LOOK_EVERY_S = 5.0
_LONGEST_NS = 86_400_000_000_000
"""A day: what a worker says of itself is multiplied by a queue's length, and has to stay a number."""
_LOOK_OFTEN_S = 0.5


def _header_ns(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "0")
    return min(int(text), _LONGEST_NS) if text.isdecimal() and len(text) < _MOST_DIGITS else 0


class _Look(Exception):
    """The answer takes long: see whether the result is stored already."""


async def stop_call(bus: Bus, function: str, instance: str, job: str) -> None:
    """Tell a worker to end a job that was cancelled. Whether it hears of it is not certain; the call tells."""
    try:
        await bus.request(
            subjects.call_cancel(function, instance),
            codec.encode(Cancelled(job=job), codec.JSON),
            within=STOP_WITHIN_S,
        )
    except (nats.errors.Error, TimeoutError) as error:
        log.info("worker not told of a cancellation", job=job, instance=instance, reason=type(error).__name__)


class Caller:
    """Makes calls and matches replies. `open` once before the first call.

    `has_result` tells whether a job's result is stored: asked while a call takes long, since a
    worker whose own connection was interrupted stores its result but cannot answer any more.
    """

    def __init__(self, bus: Bus, has_result: Callable[[str], Awaitable[bool]]) -> None:
        self._bus = bus
        self._has_result = has_result
        self._replies: Replies | None = None
        self._of_instance: defaultdict[str, set[Expected]] = defaultdict(set)

    async def open(self) -> None:
        """Subscribe to the replies."""
        self._replies = await self._bus.replies()
        self._bus.on_reconnect(self._reconnected)

    def _reconnected(self) -> None:
        for group in self._of_instance.values():
            for expected in group:
                expected.fail(ReplyLost("the connection to NATS was interrupted"))

    def lost(self, instance: Instance, reason: str) -> None:
        """End every call that this instance has in hand."""
        for expected in self._of_instance.pop(instance.id, set()):
            expected.fail(WorkerLost(f"worker {instance.id} was lost: {reason}"))

    def interrupted(self, instance: Instance) -> None:
        """The instance has a new connection: what it stores still counts, its answers do not arrive."""
        for expected in self._of_instance.get(instance.id, ()):
            expected.fail(_AnswerLost())

    async def call(self, instance: Instance, call: Call, *, within: float) -> Served:
        """Run one job on one instance.

        Raises NotListening, WorkerLost, ReplyLost, BadAnswer, or the Refused that the worker answered.
        """
        assert self._replies is not None, "open first"
        expected = self._replies.expect()
        self._of_instance[instance.id].add(expected)
        try:
            await self._bus.nc.publish(
                subjects.call(instance.function, instance.id),
                codec.encode(call, codec.MSGPACK),
                reply=expected.subject,
                headers={codec.HEADER: codec.MSGPACK},
            )
            msg = await self._answer(expected, call.job, instance, within)
        finally:
            expected.close()
            group = self._of_instance[instance.id]
            group.discard(expected)
            if not group:
                del self._of_instance[instance.id]
        return self._served(instance, msg, call.job)

    async def _answer(self, expected: Expected, job: str, instance: Instance, within: float) -> Msg:
        loop = asyncio.get_running_loop()
        until, every = loop.time() + within, _LOOK_EVERY_S
        while True:
            timer = loop.call_later(max(0.0, min(until - loop.time(), every)), expected.fail, _Look())
            try:
                return await expected.future
            except _AnswerLost:
                every = _LOOK_OFTEN_S
            except _Look:
                pass
            finally:
                timer.cancel()
            expected.again()
            if loop.time() >= until:
                raise WorkerLost(f"worker {instance.id} did not answer within {within:.1f} s")
            try:
                stored = await self._has_result(job)
            except Unavailable:
                # The stream says nothing now, and neither does the worker: that is no news of either.
                continue
            if stored:
                raise ReplyLost("the result is stored, the answer did not arrive")

    @staticmethod
    def _served(instance: Instance, msg: Msg, job: str) -> Served:
        headers = msg.headers or {}
        if headers.get("Status") == "503":
            raise NotListening(f"worker {instance.id} does not listen")
        service.raise_refusal(headers)
        try:
            reply = codec.decode(msg.data, CallReply, codec.content_type(headers), at="reply")
        except Refused as error:
            raise BadAnswer(f"worker {instance.id} gave an answer that cannot be read: {error.message}") from error
        if reply.job != job:
            raise BadAnswer(f"worker {instance.id} answered for another job")
        return Served(reply, _header_ns(headers, HEADER_QUEUE_NS), _header_ns(headers, HEADER_RUN_NS))
