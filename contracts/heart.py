"""The once-a-second report of a process, and the measure of its event loop's lag.

Every process publishes `Health` on `mmn.modules.health.<instance>`. The loop's lag is part
of it: a process whose loop is late cannot be trusted with time, nor to judge others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.modules import HEARTBEAT_S, Health

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK_S = 0.1


def resident_bytes(pid: int | None = None) -> int | None:
    """Resident memory of a process (this one by default), or None where /proc does not tell."""
    try:
        return int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None


class LoopLag:
    """Largest delay of this event loop since it was last asked."""

    def __init__(self) -> None:
        self._worst_ns = 0
        self._before_ns = 0

    def take(self) -> int:
        """The largest delay in nanoseconds since the last call."""
        self._before_ns, self._worst_ns = self._worst_ns, 0
        return self._before_ns

    def recent(self) -> int:
        """The largest delay in nanoseconds since the second last `take`."""
        return max(self._before_ns, self._worst_ns)

    async def run(self) -> None:
        """Measure until cancelled: how much later than asked does a timer fire."""
        while True:
            asked = clock.monotonic_ns()
            await asyncio.sleep(_TICK_S)
            late = clock.monotonic_ns() - asked - int(_TICK_S * 1e9)
            self._worst_ns = max(self._worst_ns, late)


async def beat(bus: Bus, report: Callable[[], Health], *, every: float = HEARTBEAT_S) -> None:
    """Publish this process's health until cancelled."""
    while True:
        health = msgspec.structs.replace(report(), dropped=bus.dropped)
        await bus.publish(subjects.health(health.instance), codec.encode(health, codec.JSON))
        await asyncio.sleep(every)
