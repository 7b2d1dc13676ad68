"""A stand-in for the node, so that a function's tests need nothing else.

`measured = await Bench(deadline=2.0).run(measure, {"target": "127.0.0.1"})`
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Self

from msgspec import Struct

from contracts.clock import monotonic_ns
from contracts.failure import Failure
from runtime.sdk.breakers import Breakers
from runtime.sdk.context import JobContext
from runtime.sdk.function import Function
from runtime.sdk.icmp import IcmpSockets
from runtime.sdk.measured import Measured

_GRACE = 1.0


class Bench:
    """Run a function without a node: record what it tells, hand it a deadline and real ICMP sockets.

    `events` holds the progress events and `logs` the log lines as (level, event, fields).
    `deadline` is in seconds from the start of each run; a function that is still busy a second
    after it is cancelled, and `run` raises TimeoutError. Use it as a context manager, or call
    `close`, to close the ICMP sockets.
    """

    def __init__(
        self,
        *,
        deadline: float = 10.0,
        seed: int = 1,
        labels: Mapping[str, str] | None = None,
        sockets: IcmpSockets | None = None,
        breakers: Breakers | None = None,
        policy: Callable[[str], Failure | None] = lambda _address: None,
        on_progress: Callable[[dict[str, Any]], None] = lambda _event: None,
    ) -> None:
        self.deadline = deadline
        self.seed = seed
        self.labels = dict(labels or {})
        self.sockets = sockets or IcmpSockets()
        self.breakers = breakers or Breakers()
        self.policy = policy
        self.on_progress = on_progress
        self.events: list[dict[str, Any]] = []
        self.logs: list[tuple[str, str, dict[str, Any]]] = []

    def context(self) -> JobContext:
        """Make the Context of one run; its deadline starts now."""
        return JobContext(
            job="bench",
            node="bench",
            deadline_ns=monotonic_ns() + int(self.deadline * 1e9),
            log=_Recorder(self.logs),
            sockets=self.sockets,
            breakers=self.breakers,
            seed=self.seed,
            labels=self.labels,
            on_progress=self._record,
            policy=self.policy,
        )

    async def run(self, function: Callable[..., Any] | Function, params: Struct | dict[str, Any]) -> Measured[Any]:
        """Run once. Parameters given as a dict are checked as the node would check them."""
        loaded = function if isinstance(function, Function) else Function.load(function)
        checked = loaded.decode(params) if isinstance(params, dict) else params
        async with asyncio.timeout(self.deadline + _GRACE):
            return await loaded.call(checked, self.context())

    def close(self) -> None:
        """Close the ICMP sockets."""
        self.sockets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _record(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.on_progress(event)


class _Recorder:
    """A Log that keeps its lines."""

    def __init__(self, lines: list[tuple[str, str, dict[str, Any]]]) -> None:
        self._lines = lines

    def debug(self, event: str, **fields: Any) -> None:
        self._lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self._lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self._lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self._lines.append(("error", event, fields))
