"""What one user may have of the feed at a time, over all of their sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

SOCKETS = 32
REPLAYS = 4


class Share:
    """One user's sockets and replays."""

    def __init__(self) -> None:
        self.sockets = 0
        self.replays = asyncio.Semaphore(REPLAYS)


class Shares:
    """The shares of all who are connected."""

    def __init__(self) -> None:
        self._shares: dict[str, Share] = {}

    @contextmanager
    def socket(self, user: str) -> Generator[Share | None]:
        """Count one more socket of a user while it is open; None when there are too many already."""
        share = self._shares.setdefault(user, Share())
        if share.sockets >= SOCKETS:
            yield None
            return
        share.sockets += 1
        try:
            yield share
        finally:
            share.sockets -= 1
            if not share.sockets:
                del self._shares[user]
