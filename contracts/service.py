"""A NATS micro service (ADR-32) with bounded concurrency, honest statistics and a real drain.

`nats.micro` runs one request at a time per endpoint, hides a queue of half a million messages,
shows callers the `repr` of exceptions and cancels running work when it stops. This module
keeps its protocol and replaces those habits: a request is admitted to a task or refused
with 429 at once, errors cross the wire as `Refused` only, and `stop` finishes what runs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER
from nats.micro.service import EndpointStats, ServiceConfig
from nats.micro.service import Service as MicroService

from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.client import Client, Listening
from contracts.errors import InvalidField, Refused, Unavailable
from contracts.jobs import HEADER_FIELD, HEADER_REASON, HEADER_RETRY_AFTER
from contracts.redaction import conceal_text, cut

log = structlog.get_logger(__name__)
T = TypeVar("T")
RETRY_AFTER_S = 0.05
_LONGEST_MESSAGE, _LONGEST_FIELD = 1000, 200
_BUSY = Refused(429, "busy", "every slot of this instance is taken", retry_after=RETRY_AFTER_S)
_CUT_OFF = Refused(503, "stopped", "this instance stopped while it was at it; ask another", retry_after=RETRY_AFTER_S)


class Ask:
    """One request as a handler sees it. `arrived_ns` is on the monotonic clock, before any wait for a slot."""

    __slots__ = ("arrived_ns", "data", "headers", "reply", "subject")

    def __init__(self, msg: Msg, arrived_ns: int) -> None:
        self.arrived_ns = arrived_ns
        self.subject: str = msg.subject
        self.data: bytes = msg.data
        self.headers: Mapping[str, str] = msg.headers or {}
        self.reply: str = msg.reply

    def media(self) -> str:
        """The media type of the body. Raises Refused (415)."""
        return codec.content_type(self.headers)

    def decode(self, kind: type[T], *, at: str = "") -> T:
        """The body as a value. Raises InvalidField or Refused."""
        return codec.decode(self.data, kind, self.media(), at=at)


Answer = tuple[bytes, dict[str, str]]
"""Body and headers of a reply."""
Handler = Callable[[Ask], Awaitable[Answer]]


def answer(value: object, media: str = codec.JSON, headers: Mapping[str, str] | None = None) -> Answer:
    """Encode a value in the caller's own media type."""
    return codec.encode(value, media), {codec.HEADER: media, **(headers or {})}


def error_headers(refusal: Refused) -> dict[str, str]:
    """A refusal as headers: what ADR-32 names, and what programs need besides."""
    headers = {
        # Both may quote what was sent.
        ERROR_HEADER: conceal_text(cut(refusal.message, _LONGEST_MESSAGE)),
        ERROR_CODE_HEADER: str(refusal.code),
        HEADER_REASON: refusal.reason,
    }
    if refusal.retry_after is not None:
        headers[HEADER_RETRY_AFTER] = f"{refusal.retry_after:.3f}"
    if isinstance(refusal, InvalidField):
        headers[HEADER_FIELD] = conceal_text(refusal.field[:_LONGEST_FIELD])
    return headers


def raise_refusal(headers: Mapping[str, str] | None) -> None:
    """Turn the error headers of a reply back into the exception they were made from."""
    if not headers or ERROR_CODE_HEADER not in headers:
        return
    text, code = headers.get(ERROR_HEADER, ""), headers[ERROR_CODE_HEADER]
    reason, field = headers.get(HEADER_REASON, "error"), headers.get(HEADER_FIELD)
    number = int(code) if re.fullmatch(r"[1-5][0-9]{2}", code) else 500
    if field is not None:
        raise InvalidField(field, text.removeprefix(f"{field}: "), code=number, reason=reason)
    raise Refused(number, reason, text, retry_after=_seconds(headers.get(HEADER_RETRY_AFTER, "")))


def _seconds(text: str) -> float | None:
    """A Retry-After that can be believed: up to an hour; None for any other text."""
    return min(float(text), 3600.0) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else None


class Gate:
    """Admission of one endpoint: `limit` run, `queue` wait, all else is refused."""

    def __init__(self, limit: int, queue: int) -> None:
        self.limit = limit
        self.queue = queue
        self.running = 0
        self.rejected = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.refusals: set[asyncio.Task[None]] = set()
        self.slots = asyncio.Semaphore(limit)

    @property
    def full(self) -> bool:
        return len(self.tasks) >= self.limit + self.queue

    @property
    def waiting(self) -> int:
        return len(self.tasks) - self.running

    def data(self) -> dict[str, int]:
        """What STATS shows as the endpoint's `data`."""
        return {
            "in_flight": self.running,
            "queued": self.waiting,
            "limit": self.limit,
            "queue_limit": self.queue,
            "rejected": self.rejected,
        }


class _Endpoint:
    """One subject: admits a request to a task or refuses it at once, as it is read from the socket."""

    def __init__(self, subject: str, gate: Gate, serve: Callable[[Ask], Awaitable[Answer]]) -> None:
        self.gate = gate
        self.requests = 0
        self.errors = 0
        self.busy_ns = 0
        self.last_error = ""
        self._subject = subject
        self._serve = serve

    def admit(self, msg: Msg) -> None:
        """Take a request; every one gets an answer, unless it wants that in a place where none belongs."""
        if not _sound(msg):
            return
        gate = self.gate
        loop = asyncio.get_running_loop()
        if gate.full:
            gate.rejected += 1
            task = loop.create_task(self._reply(msg, b"", error_headers(_BUSY)))
            _came_by(msg).owe(task)
            gate.refusals.add(task)
            task.add_done_callback(gate.refusals.discard)
            return
        # The gate holds the task until it ends, and `stop` awaits it there.
        task = loop.create_task(self._run(msg, Ask(msg, clock.monotonic_ns())))
        _came_by(msg).owe(task)
        gate.tasks.add(task)
        task.add_done_callback(gate.tasks.discard)

    async def _run(self, msg: Msg, ask: Ask) -> None:
        gate = self.gate
        async with gate.slots:
            gate.running += 1
            began_ns = clock.monotonic_ns()
            self.requests += 1
            try:
                body, headers = await self._serve(ask)
                if ERROR_CODE_HEADER in headers:
                    self.errors += 1
                    self.last_error = f"{headers[ERROR_CODE_HEADER]}:{headers[ERROR_HEADER]}"
                await self._reply(msg, body, headers)
            except asyncio.CancelledError:
                # Cut off, or its handler cancelled itself: whoever asked need not wait out a time limit.
                await self._reply(msg, b"", error_headers(_CUT_OFF))
                raise
            finally:
                gate.running -= 1
                self.busy_ns += clock.monotonic_ns() - began_ns

    async def _reply(self, msg: Msg, body: bytes, headers: dict[str, str]) -> None:
        if not msg.reply:
            return
        try:
            # A worker may answer only on the connection that the request came on.
            await _came_by(msg).publish(msg.reply, body, headers=headers)
        except nats.errors.Error as error:
            log.warning("reply not sent", subject=self._subject, error=str(error) or type(error).__name__)


def _came_by(msg: Msg) -> Client:
    return cast("Client", msg._client)


def _sound(msg: Msg) -> bool:
    sound = not msg.reply or subjects.answered(msg.reply)
    if not sound:
        log.debug("request ignored", subject=msg.subject, reason="its answer is wanted where none belongs")
    return sound


class _Admitting:
    """A stand-in for the client that `nats.micro` subscribes with.

    Endpoints always subscribe with a queue group, the nine `$SRV` subjects never do: that tells them apart. The
    library speaks of the service on `$SRV`, with our counts; requests do not pass through it.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.endpoints: dict[str, _Endpoint] = {}
        self.subscriptions: list[Listening] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus.nc, name)

    async def subscribe(self, subject: str, queue: str = "", cb: Any = None) -> Listening:
        if not queue:

            async def discovered(msg: Msg) -> None:
                if msg.reply and _sound(msg):
                    await cb(msg)

            return await self._bus.subscribe(subject, discovered)
        subscription = await self._bus.listen(subject, self.endpoints[subject].admit, queue=queue)
        self.subscriptions.append(subscription)
        return subscription


class Service:
    """One registered micro service. `instance` is its id, so that a JWT can pin its subjects."""

    def __init__(
        self,
        bus: Bus,
        *,
        name: str,
        instance: str,
        version: str,
        description: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._bus = bus
        self._client = _Admitting(bus)
        config = ServiceConfig(
            name=name,
            version=version,
            # Without one, INFO breaks its schema and the nats CLI leaves the service out.
            description=description,
            metadata=dict(metadata or {}),
            stats_handler=self._stats,
        )
        self._micro = MicroService(self._client, config)  # type: ignore[arg-type]  # a stand-in, see _Admitting
        self._micro._id = instance
        self.draining = False

    async def start(self) -> None:
        """Answer `$SRV` requests."""
        await self._micro.start()

    async def add(
        self,
        name: str,
        subject: str,
        handler: Handler,
        *,
        limit: int = 64,
        queue: int = 0,
        group: str = "q",
        metadata: Mapping[str, str] | None = None,
        gate: Gate | None = None,
    ) -> Gate:
        """Serve one subject. At most `limit` requests run and `queue` wait; then 429.

        Give the `gate` of another endpoint to share its slots, instead of `limit` and `queue`.
        """
        gate = gate or Gate(limit, queue)

        async def serve(ask: Ask) -> Answer:
            return await self._guarded(handler, ask)

        async def unused(_request: object) -> None:
            raise AssertionError("requests do not pass through the library")

        self._client.endpoints[subject] = _Endpoint(subject, gate, serve)
        await self._micro.add_endpoint(
            name=name, subject=subject, handler=unused, queue_group=group, metadata=dict(metadata or {})
        )
        return gate

    async def _guarded(self, handler: Handler, ask: Ask) -> Answer:
        if self.draining:
            refusal = Refused(503, "draining", "this instance is stopping; ask another", retry_after=RETRY_AFTER_S)
            return b"", error_headers(refusal)
        try:
            return await handler(ask)
        except Refused as refusal:
            return b"", error_headers(refusal)
        except Unavailable as error:
            return b"", error_headers(Refused(503, "unavailable", str(error), retry_after=1.0))
        except Exception:
            # The caller is told nothing of the inside; the log has the trace.
            log.exception("request failed", subject=ask.subject)
            return b"", error_headers(Refused(500, "internal", "internal error; the log of this instance says more"))

    def _stats(self, stats: EndpointStats) -> dict[str, int | bool]:
        endpoint = self._client.endpoints.get(stats.subject)
        if endpoint is None:
            return {"draining": self.draining}
        stats.num_requests, stats.num_errors = endpoint.requests, endpoint.errors
        stats.processing_time = endpoint.busy_ns
        stats.average_processing_time = endpoint.busy_ns // max(1, endpoint.requests)
        stats.last_error = endpoint.last_error
        return {**endpoint.gate.data(), "draining": self.draining}

    async def stop(self, *, grace: float = 10.0) -> int:
        """Take no new request, finish running ones for `grace` seconds, unregister.

        Returns how many had to be cut off. `$SRV` answers until the end.
        """
        for subscription in self._client.subscriptions:
            await subscription.drain()
        self.draining = True
        running = {task for one in self._client.endpoints.values() for task in one.gate.tasks | one.gate.refusals}
        late: set[asyncio.Task[None]] = set()
        if running:
            _, late = await asyncio.wait(running, timeout=grace)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        # Its own stop() would unsubscribe the drained ones again, and raise.
        self._micro._endpoints = []
        await self._micro.stop()
        if self._bus.nc.is_connected:
            await self._bus.flush()
        return len(late)
