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
from contextvars import ContextVar
from typing import Any, TypeVar

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER, Request, ServiceError
from nats.micro.service import EndpointStats, ServiceConfig
from nats.micro.service import Service as MicroService

from contracts import clock, codec
from contracts.bus import Bus
from contracts.errors import InvalidField, Refused, Unavailable
from contracts.jobs import HEADER_FIELD, HEADER_REASON, HEADER_RETRY_AFTER

log = structlog.get_logger(__name__)
T = TypeVar("T")
RETRY_AFTER_S = 0.05


_ARRIVED: ContextVar[int] = ContextVar("arrived")


class Ask:
    """One request as a handler sees it. `arrived_ns` is on the monotonic clock, before any wait for a slot."""

    __slots__ = ("arrived_ns", "data", "headers", "reply", "subject")

    def __init__(self, request: Request) -> None:
        self.arrived_ns = _ARRIVED.get(0) or clock.monotonic_ns()
        self.subject = request.subject
        self.data = request.data
        self.headers: Mapping[str, str] = request.headers or {}
        self.reply: str = request._msg.reply

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
        ERROR_HEADER: refusal.message,
        ERROR_CODE_HEADER: str(refusal.code),
        HEADER_REASON: refusal.reason,
    }
    if refusal.retry_after is not None:
        headers[HEADER_RETRY_AFTER] = f"{refusal.retry_after:.3f}"
    if isinstance(refusal, InvalidField):
        headers[HEADER_FIELD] = refusal.field
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


class _Admitting:
    """A stand-in for the client that `nats.micro` subscribes with.

    Endpoints always subscribe with a queue group, the nine `$SRV` subjects never do: that
    tells them apart. The library's own handler runs inside the task, so its counts stay right.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.gates: dict[str, Gate] = {}
        self.subscriptions: list[Subscription] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus.nc, name)

    async def subscribe(self, subject: str, queue: str = "", cb: Any = None) -> Subscription:
        nc = self._bus.nc
        if not queue:
            return await nc.subscribe(subject, cb=cb)
        gate = self.gates[subject]

        async def run(msg: Msg, arrived_ns: int) -> None:
            _ARRIVED.set(arrived_ns)
            async with gate.slots:
                gate.running += 1
                try:
                    await cb(msg)
                except Exception as error:  # noqa: BLE001  # whatever the library raises must not end the endpoint
                    log.warning("reply not sent", subject=subject, error=str(error))
                finally:
                    gate.running -= 1

        async def admit(msg: Msg) -> None:
            if gate.full:
                gate.rejected += 1
                if msg.reply:
                    busy = Refused(429, "busy", "every slot of this instance is taken", retry_after=RETRY_AFTER_S)
                    await nc.publish(msg.reply, headers=error_headers(busy))
                return
            # The gate holds the task until it ends, and `stop` awaits it there.
            task = asyncio.get_running_loop().create_task(run(msg, clock.monotonic_ns()))
            gate.tasks.add(task)
            task.add_done_callback(gate.tasks.discard)

        subscription = await nc.subscribe(subject, queue=queue, cb=admit)
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
        gate = self._client.gates[subject] = gate or Gate(limit, queue)

        async def handle(request: Request) -> None:
            body, headers = await self._guarded(handler, request)
            if request._msg.reply:
                await request.respond(body, headers)
            if ERROR_CODE_HEADER in headers:
                self._count_error(subject, headers)

        await self._micro.add_endpoint(
            name=name, subject=subject, handler=handle, queue_group=group, metadata=dict(metadata or {})
        )
        return gate

    async def _guarded(self, handler: Handler, request: Request) -> Answer:
        if self.draining:
            refusal = Refused(503, "draining", "this instance is stopping; ask another", retry_after=RETRY_AFTER_S)
            return b"", error_headers(refusal)
        try:
            return await handler(Ask(request))
        except Refused as refusal:
            return b"", error_headers(refusal)
        except Unavailable as error:
            return b"", error_headers(Refused(503, "unavailable", str(error), retry_after=1.0))
        except Exception:
            # The caller is told nothing of the inside; the log has the trace.
            log.exception("request failed", subject=request.subject)
            return b"", error_headers(Refused(500, "internal", "internal error; the log of this instance says more"))

    def _count_error(self, subject: str, headers: Mapping[str, str]) -> None:
        # nats.micro counts raised errors only, and raising would lose our headers.
        for endpoint in self._micro._endpoints:
            if endpoint._subject == subject:
                endpoint._num_errors += 1
                endpoint._last_error = repr(ServiceError(headers[ERROR_CODE_HEADER], headers[ERROR_HEADER]))

    def _stats(self, stats: EndpointStats) -> dict[str, int | bool]:
        gate = self._client.gates.get(stats.subject)
        return {**(gate.data() if gate else {}), "draining": self.draining}

    async def stop(self, *, grace: float = 10.0) -> int:
        """Take no new request, finish running ones for `grace` seconds, unregister.

        Returns how many had to be cut off. `$SRV` answers until the end.
        """
        for subscription in self._client.subscriptions:
            await subscription.drain()
        self.draining = True
        running = {task for gate in self._client.gates.values() for task in gate.tasks}
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
