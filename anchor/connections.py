"""What the server itself says of workers: connect and disconnect events of the system account.

An event names the user key with which the server has verified the connection, so nobody can
speak for another. The client's name in it is the client's own word and is not read. Pure: the
caller receives the events.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

MAX_KEYS = 100_000
FINAL_REASONS = frozenset({"Credentials Revoked"})
"""Reasons after which the same key cannot come back."""


class _Client(msgspec.Struct):
    id: int = 0
    user: str = ""


class _Server(msgspec.Struct):
    id: str = ""


class ConnectionEvent(msgspec.Struct):
    """An advisory of nats-server, as far as it is needed here."""

    client: _Client
    server: _Server
    reason: str = ""

    @property
    def connection(self) -> tuple[str, int]:
        """The one connection that is meant: ids are counted by each server."""
        return self.server.id, self.client.id


class Connections:
    """Open connections by user key, as far as events told."""

    def __init__(self) -> None:
        self._open: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)

    def opened(self, event: ConnectionEvent) -> None:
        """A connection was accepted."""
        if event.client.user in self._open or len(self._open) < MAX_KEYS:
            self._open[event.client.user].add(event.connection)

    def closed(self, event: ConnectionEvent) -> bool:
        """A connection ended. Returns whether it was the last one of its key, as far as is known.

        A worker that renews its token may connect anew before it leaves the old connection.
        """
        key = event.client.user
        if key not in self._open:
            return True
        self._open[key].discard(event.connection)
        if self._open[key]:
            return False
        del self._open[key]
        return True

    def forget(self) -> None:
        """Events were missed: what was known may be wrong."""
        self._open.clear()
