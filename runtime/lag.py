"""How late this event loop was while a job ran: a result says how well its node behaved."""

from __future__ import annotations

import asyncio
from collections import deque

from contracts.clock import monotonic_ns

_TICK_S = 0.05
_TICK_NS = 50_000_000
_KEEP_S = 660.0


class LagHistory:
    """The delays of the event loop over the time of the longest job."""

    def __init__(self) -> None:
        # Only real delays are kept, so that a long job needs to look at few of them.
        self._late: deque[tuple[int, int]] = deque(maxlen=int(_KEEP_S / _TICK_S))
        self._due_ns = monotonic_ns()

    def since(self, start_ns: int) -> int:
        """The largest delay in nanoseconds of a timer that was due after `start_ns`."""
        now = monotonic_ns()
        worst = max(0, now - max(self._due_ns, start_ns))
        for at, late in reversed(self._late):
            if at < start_ns:
                break
            worst = max(worst, min(late, at - start_ns))
        return worst

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            self._due_ns = monotonic_ns() + _TICK_NS
            await asyncio.sleep(_TICK_S)
            now = monotonic_ns()
            if now > self._due_ns:
                self._late.append((now, now - self._due_ns))
