"""Announcements on their way out: in order, and nobody waits for NATS to tell them."""

from __future__ import annotations

import asyncio

from contracts import codec, subjects
from contracts.bus import Bus
from contracts.modules import Announcement


class News:
    """What a node has to tell of its workers."""

    def __init__(self, bus: Bus, node: str) -> None:
        self._bus = bus
        self._subject = subjects.announce(node)
        self._waiting: asyncio.Queue[Announcement] = asyncio.Queue()

    def tell(self, news: Announcement) -> None:
        """Announce soon."""
        self._waiting.put_nowait(news)

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._publish(await self._waiting.get())

    async def flush(self) -> None:
        """Publish what waits, before the node leaves."""
        while not self._waiting.empty():
            await self._publish(self._waiting.get_nowait())

    async def _publish(self, news: Announcement) -> None:
        await self._bus.publish(self._subject, codec.encode(news, codec.JSON))
