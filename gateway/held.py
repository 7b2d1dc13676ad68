"""The values of a bucket, followed and kept in memory, and a bell for those who wait for a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import structlog
from msgspec import Struct

from contracts import codec
from contracts.errors import Refused
from contracts.tail import Entry

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Struct)
MAX_VALUE_BYTES = 1024 * 1024


class Bell:
    """Wakes everyone who listens, each by an event of their own."""

    def __init__(self) -> None:
        self._events: set[asyncio.Event] = set()

    @contextmanager
    def listening(self) -> Generator[asyncio.Event]:
        """An event that is set at every change from now on; clear it before looking."""
        event = asyncio.Event()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)

    def ring(self) -> None:
        """Something has changed."""
        for event in self._events:
            event.set()


def _nothing() -> None:
    """Nobody wants to hear of changes."""


class Held(dict[str, T]):
    """The values of one bucket in memory; an older revision never replaces a newer one."""

    def __init__(self, bucket: str, kind: type[T], *, changed: Callable[[], None] = _nothing) -> None:
        super().__init__()
        self.bucket = bucket
        self.kind = kind
        self.complete = asyncio.Event()
        self._changed = changed
        # Of deleted keys too, so that a late entry does not bring them back.
        self._revisions: dict[str, int] = {}
        self._incarnation = ""
        self.watched = 0
        """The newest revision of the whole bucket that its watch has brought."""

    def take(self, entry: Entry, incarnation: str) -> None:
        """Keep an entry that the watch of the bucket brought."""
        # A bucket restored from a backup may keep its incarnation, but its revisions go back.
        if self.watched and (incarnation != self._incarnation or entry.revision <= self.watched):
            log.warning("bucket was made anew", bucket=self.bucket)
            self.clear()
            self._revisions.clear()
        self._incarnation, self.watched = incarnation, entry.revision
        if entry.value is None:
            self.keep(entry.key, None, entry.revision)
            return
        try:
            value = codec.decode(entry.value, self.kind, limit=MAX_VALUE_BYTES)
        except Refused as error:
            log.warning("unreadable entry", bucket=self.bucket, key=entry.key, reason=error.message)
        else:
            self.keep(entry.key, value, entry.revision)

    def keep(self, key: str, value: T | None, revision: int) -> None:
        """Keep a value, or that there is none any more, unless a newer revision is known."""
        if self._revisions.get(key, 0) >= revision:
            return
        self._revisions[key] = revision
        if value is None:
            self.pop(key, None)
        else:
            self[key] = value
        self._changed()

    def drop(self, key: str) -> None:
        """Forget a key that the bucket itself forgets by age."""
        self.pop(key, None)
        self._revisions.pop(key, None)

    def values_by_key(self) -> list[T]:
        return [self[key] for key in sorted(self)]
