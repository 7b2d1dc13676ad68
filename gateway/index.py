"""The index: a SQLite projection of the streams EVENTS, RESULTS and AUDIT, to look things up and list them.

It can be deleted at any time: it follows the streams from its own cursor, and begins anew when a
stream was made anew or the shape of the tables changed. One thread owns the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from contracts import streams
from contracts.errors import Unavailable
from contracts.jobs import JobReceipt, JobRequest
from contracts.results import Result
from contracts.tail import CaughtUp, Start, StreamStatus
from gateway.ledger import AuditPage, AuditWish
from gateway.projection import JobDetail, JobPage, Projection, ResultPage, Wanted
from gateway.records import Record

log = structlog.get_logger(__name__)

T = TypeVar("T")
BATCH = 500
PRUNE_EVERY_S = 600.0
_RETRY_S = 1.0
FOLLOWED = (streams.EVENTS, streams.RESULTS, streams.AUDIT)


class Source(Protocol):
    """Where records come from: the network, or a list in a test."""

    async def status(self, stream: str) -> StreamStatus:
        """A stream's incarnation and bounds."""
        ...

    def follow(
        self, stream: str, *, start: Start, subject: str | None = None, mark: bool = False
    ) -> AsyncGenerator[Record | CaughtUp]:
        """Records from `start` on, for ever."""
        ...


class Index:
    """The projection behind a thread, kept current by `run`."""

    def __init__(self, path: Path | None) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="index")
        self._projection = Projection(path)
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closing = False
        self._complete: dict[str, bool] = dict.fromkeys(FOLLOWED, False)

    @property
    def complete(self) -> bool:
        """Whether everything that was kept at the start is in the tables."""
        return all(self._complete.values())

    async def run(self, source: Source) -> None:
        """Follow the streams until cancelled."""
        async with asyncio.TaskGroup() as group:
            for stream in FOLLOWED:
                group.create_task(self._keep(source, stream))
            group.create_task(self._prune(source))

    def release(self) -> None:
        """Let go of everyone who waits for a result; nobody waits from now on."""
        self._closing = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def close(self) -> None:
        """Finish what is under way and close the database."""
        self.release()
        await self._do(self._projection.close)
        self._thread.shutdown()

    async def accepted(self, receipt: JobReceipt, request: JobRequest, client: str) -> None:
        """Note a job that this gateway submitted, before its event arrives."""
        await self._do(lambda: self._projection.accepted(receipt, request, client))

    async def detail(self, job: str) -> JobDetail | None:
        """A job with its events and its result, or None."""
        return await self._do(lambda: self._projection.detail(job))

    async def result(self, job: str) -> Result | None:
        """A job's result, or None."""
        return await self._do(lambda: self._projection.result(job))

    async def jobs(self, wanted: Wanted) -> JobPage:
        """List jobs, newest first. Raises InvalidField for a bad `after`."""
        return await self._do(lambda: self._projection.jobs(wanted))

    async def results(self, wanted: Wanted) -> ResultPage:
        """List results, newest first. Raises InvalidField for a bad `after`."""
        return await self._do(lambda: self._projection.results(wanted))

    async def audit(self, wish: AuditWish) -> AuditPage:
        """List who did what, newest first. Raises InvalidField for a bad `after`."""
        return await self._do(lambda: self._projection.audit(wish))

    async def until_result(self, job: str, *, within: float) -> Result | None:
        """A job's result, waiting for it for a while; None when it is still not there."""
        arrived = asyncio.Event()
        # Registered before looking, so that a result which comes in between is not missed.
        self._waiting.setdefault(job, set()).add(arrived)
        try:
            found = await self.result(job)
            if found is not None or self._closing:
                return found
            async with asyncio.timeout(within):
                await arrived.wait()
        except TimeoutError:
            return None
        finally:
            events = self._waiting[job]
            events.discard(arrived)
            if not events:
                del self._waiting[job]
        return await self.result(job)

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _begin(self, source: Source, stream: str) -> Start:
        """Where to read on: behind the cursor, or from the start of another incarnation."""
        status = None
        while status is None:
            try:
                status = await source.status(stream)
            except Unavailable as error:
                log.info("stream cannot be followed yet", stream=stream, reason=str(error))
                await asyncio.sleep(_RETRY_S)
        cursor = await self._do(lambda: self._projection.cursor(stream))
        if cursor is not None:
            incarnation, sequence = cursor
            if incarnation == status.created and sequence <= status.state.last_seq:
                return sequence + 1
            log.warning("stream was made anew", stream=stream)
            await self._do(lambda: self._projection.restart(stream, status.created))
        return "all"

    async def _keep(self, source: Source, stream: str) -> None:
        start = await self._begin(source, stream)
        queue: asyncio.Queue[Record | CaughtUp] = asyncio.Queue(2 * BATCH)
        async with asyncio.TaskGroup() as group:
            group.create_task(_fill(queue, source.follow(stream, start=start, mark=True)))
            while True:
                items = [await queue.get()]
                while len(items) < BATCH and not queue.empty():
                    items.append(queue.get_nowait())
                await self.take(stream, items)

    async def take(self, stream: str, items: list[Record | CaughtUp]) -> None:
        """Apply what came, in one transaction, and wake who waits for it."""
        records = [item for item in items if isinstance(item, Record)]
        if records:
            for job in await self._do(lambda: self._projection.apply(stream, records)):
                for event in self._waiting.get(job, ()):
                    event.set()
        if len(records) < len(items):
            self._complete[stream] = True

    async def _prune(self, source: Source) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY_S)
            for stream in FOLLOWED:
                try:
                    status = await source.status(stream)
                except Unavailable as error:
                    log.info("index not pruned", stream=stream, reason=str(error))
                    continue
                await self._do(partial(self._projection.prune, stream, status.state.first_seq))


async def _fill(queue: asyncio.Queue[Record | CaughtUp], source: AsyncGenerator[Record | CaughtUp]) -> None:
    async for item in source:
        await queue.put(item)
