"""Work for one function: so many jobs a second, or so many at once, until it is told to stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from contracts import clock
from gateway.cli.scenarios.orders import Desk, Order

_LATE_S = 1.0


class Load:
    """The orders of one function. `patient` ones are submitted again when nobody answers."""

    def __init__(
        self, desk: Desk, function: str, params: Mapping[str, Any] | None = None, *, patient: bool = True
    ) -> None:
        self.function = function
        self.orders: list[Order] = []
        self._desk = desk
        self._params = dict(params or {})
        self._patient = patient
        self._halt = asyncio.Event()

    @asynccontextmanager
    async def steady(self, per_s: float) -> AsyncGenerator[None]:
        """Order `per_s` jobs a second, whatever becomes of them, as long as the block runs."""
        async with self._until_left() as tasks:
            tasks.create_task(self._tick(tasks, per_s))
            yield

    @asynccontextmanager
    async def together(self, at_once: int) -> AsyncGenerator[None]:
        """Keep so many jobs accepted and unfinished, as long as the block runs."""
        async with self._until_left() as tasks:
            for _ in range(at_once):
                tasks.create_task(self._again_and_again())
            yield

    @asynccontextmanager
    async def _until_left(self) -> AsyncGenerator[asyncio.TaskGroup]:
        self._halt.clear()
        async with asyncio.TaskGroup() as tasks:
            try:
                yield tasks
            finally:
                self._halt.set()

    async def _tick(self, tasks: asyncio.TaskGroup, per_s: float) -> None:
        began, count = clock.monotonic_ns(), 0
        while not self._halt.is_set():
            late = (clock.monotonic_ns() - began) / 1e9 - count / per_s
            if late > _LATE_S:
                # This process was held up: what was missed is not made up for in a burst.
                began, count = clock.monotonic_ns(), 0
            elif late < 0:
                await asyncio.sleep(-late)
                continue
            tasks.create_task(self._one())
            count += 1

    async def _one(self) -> Order:
        order = await self._desk.place(self.function, self._params, patient=self._patient)
        self.orders.append(order)
        return order

    async def _again_and_again(self) -> None:
        while not self._halt.is_set():
            order = await self._one()
            if order.job is None:
                wait = order.refused.retry_after if order.refused else None
                await asyncio.sleep(wait or 0.1)
                continue
            await asyncio.wait([order.ended])

    # --- what became of them -----------------------------------------------------------------------------

    @property
    def accepted(self) -> list[Order]:
        return [order for order in self.orders if order.job is not None]

    @property
    def failed(self) -> int:
        """Accepted jobs that ended with a failure, and orders that never became a job and were not told to wait."""
        return sum(order.result is not None and order.result.failure is not None for order in self.orders) + sum(
            order.lost or (order.refused is not None and order.refused.code != 429) for order in self.orders
        )

    def refusals(self) -> Counter[int]:
        """Refused orders by their code."""
        return Counter(order.refused.code for order in self.orders if order.refused is not None)

    def latencies(self, since_ns: int = 0, until_ns: int | None = None) -> list[float]:
        """Seconds from wish to result of jobs that were offered in this time and ended."""
        return [
            order.latency_s
            for order in self.orders
            if order.ended_ns and since_ns <= order.offered_ns and (until_ns is None or order.offered_ns < until_ns)
        ]

    def by_worker(self, since_ns: int, until_ns: int) -> Counter[str]:
        """Jobs that ended in this time, by the worker that ran them."""
        return Counter(
            order.result.by
            for order in self.orders
            if order.result is not None and since_ns <= order.ended_ns < until_ns
        )
