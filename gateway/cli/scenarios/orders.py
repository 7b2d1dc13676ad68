"""Jobs that a scenario orders, counted exactly: submitted as a gateway submits, and followed to their results.

Results are read from their stream, where a second result of one job would be seen, and not from the feed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import nats.errors

from contracts import clock, codec, streams, subjects
from contracts.bus import Bus
from contracts.errors import MmnError, Refused
from contracts.failure import Failure
from contracts.jobs import HEADER_CLIENT, JobReceipt, JobRequest
from contracts.service import raise_refusal
from contracts.tail import CaughtUp, Tail, stream_status
from gateway.cli.scenarios.timeline import Timeline

TRY_S = 2.0
PATIENCE_S = 30.0
_PAUSE_S = 0.1
_CLIENT = "scenario"


class Told(msgspec.Struct, frozen=True):
    """What of a result is looked at."""

    job: str
    function: str
    by: str
    node: str | None = None
    version: str | None = None
    failure: Failure | None = None


@dataclass(slots=True)
class Order:
    """One job that was asked for. Times are of the monotonic clock; `refused` and `lost` ones never became a job."""

    function: str
    offered_ns: int
    tries: int = 0
    job: str | None = None
    accepted_ns: int = 0
    refused: Refused | None = None
    lost: bool = False
    result: Told | None = None
    ended_ns: int = 0
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def latency_s(self) -> float:
        """From the wish to the result."""
        return (self.ended_ns - self.offered_ns) / 1e9

    @property
    def served(self) -> bool:
        """Whether it was measured."""
        return self.result is not None and self.result.failure is None


class Desk:
    """Where jobs are ordered. `run` has to run beside it."""

    def __init__(self, bus: Bus, timeline: Timeline) -> None:
        self._bus = bus
        self._timeline = timeline
        self._open: dict[str, Order] = {}
        self._early: dict[str, tuple[Told, int]] = {}
        self.results: Counter[str] = Counter()
        self.accepted: set[str] = set()

    async def run(self) -> None:
        """Follow the results until cancelled."""
        async for item in Tail(self._bus, streams.RESULTS, start="all"):
            if isinstance(item, CaughtUp):
                continue
            told = codec.decode(item.data, Told, codec.content_type(item.headers))
            now = clock.monotonic_ns()
            self.results[told.job] += 1
            if self.results[told.job] > 1:
                continue
            self._timeline.job(told.function)
            order = self._open.pop(told.job, None)
            if order is None:
                self._early[told.job] = (told, now)
            else:
                self._end(order, told, now)

    @staticmethod
    def _end(order: Order, told: Told, now: int) -> None:
        order.result, order.ended_ns = told, now
        order.ended.set_result(None)

    async def place(
        self, function: str, params: Mapping[str, Any], *, node: str | None = None, patient: bool = True
    ) -> Order:
        """Order one job; returns once it is accepted, refused or lost.

        A `patient` order has a key, and is submitted again with it when nobody answers: the key makes it
        the same job. Others are tried once.
        """
        order = Order(function, clock.monotonic_ns())
        key = secrets.token_hex(12) if patient else None
        body = codec.encode(JobRequest(function=function, params=dict(params), node=node, key=key))
        until = order.offered_ns + int(PATIENCE_S * 1e9)
        while True:
            order.tries += 1
            try:
                receipt = await self._submit(body)
            except Refused as refusal:
                # 503 says that nobody can take it now.
                if not patient or refusal.code != 503:
                    order.refused = refusal
                    return order
            except (MmnError, nats.errors.Error, TimeoutError):
                if not patient:
                    order.lost = True
                    return order
            else:
                self._accepted(order, receipt)
                return order
            if clock.monotonic_ns() > until:
                order.lost = True
                return order
            await asyncio.sleep(_PAUSE_S)

    async def _submit(self, body: bytes) -> JobReceipt:
        headers = {codec.HEADER: codec.MSGPACK, HEADER_CLIENT: _CLIENT}
        reply = await self._bus.request(subjects.SUBMIT, body, within=TRY_S, headers=headers)
        raise_refusal(reply.headers)
        return codec.decode(reply.data, JobReceipt, codec.content_type(reply.headers))

    def _accepted(self, order: Order, receipt: JobReceipt) -> None:
        order.job, order.accepted_ns = receipt.job, clock.monotonic_ns()
        self.accepted.add(receipt.job)
        early = self._early.pop(receipt.job, None)
        if early is None:
            self._open[receipt.job] = order
        else:
            self._end(order, *early)

    @property
    def waiting(self) -> int:
        """Accepted jobs without a result yet."""
        return len(self._open)

    async def all_ended(self, *, within: float) -> None:
        """Wait until every accepted job has a result, at most so long."""
        try:
            async with asyncio.timeout(within):
                while self._open:
                    await asyncio.wait([order.ended for order in self._open.values()])
        except TimeoutError:
            return

    async def stored(self) -> Counter[str]:
        """Results by job as the stream counts them itself."""
        status = await stream_status(self._bus, streams.RESULTS, subjects=subjects.OUTS_EXPORT)
        found: Counter[str] = Counter()
        for subject, count in status.state.subjects.items():
            found[subject.split(".")[2]] += count
        return found
