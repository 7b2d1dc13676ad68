"""Progress events on their way out: in order, bounded, and never waited for."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
import nats.errors
import structlog

from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.redaction import conceal
from contracts.results import Progress

log = structlog.get_logger(__name__)

MOST_WAITING = 4096
MOST_EVENT_BYTES = 16 * 1024
MOST_EVENTS_A_JOB = 20_000


class Outbox:
    """Holds the events of all jobs of one worker until `run` has published them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._order = asyncio.Lock()
        self.dropped = 0

    def put(self, subject: str, data: bytes) -> None:
        """Send soon; dropped when too much waits already."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append((subject, data))
        self._wake.set()

    async def flush(self) -> None:
        """Hand what waits to the connection."""
        async with self._order:
            while self._waiting:
                subject, data = self._waiting.popleft()
                try:
                    await self._bus.publish(subject, data)
                except nats.errors.Error:
                    self.dropped += 1

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()


class JobProgress:
    """The events of one call, numbered from 0; a gap in the numbers shows what was dropped."""

    def __init__(self, outbox: Outbox, *, job: str, instance: str, function: str) -> None:
        self._outbox = outbox
        self._subject = subjects.progress(job, instance)
        self._job = job
        self._instance = instance
        self._function = function
        self._n = 0

    def __call__(self, event: dict[str, object]) -> None:
        """Take one event. Returns at once and never raises for what a function puts into it."""
        n, self._n = self._n, self._n + 1
        if n >= MOST_EVENTS_A_JOB:
            return
        try:
            data = codec.encode(
                Progress(
                    job=self._job,
                    instance=self._instance,
                    function=self._function,
                    n=n,
                    at=clock.utc_now(),
                    event=conceal(event),
                ),
                codec.JSON,
            )
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            log.warning("progress event dropped", job=self._job, reason=str(error))
            return
        if len(data) <= MOST_EVENT_BYTES:
            self._outbox.put(self._subject, data)
