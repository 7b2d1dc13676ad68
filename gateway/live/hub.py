"""Fan-out in process: one tail per stream, one encoding per distinct filter, one queue per client.

Litestar's channels do not fit: they send single messages, drop them without telling when a
client is slow, and know neither cursors nor filters. Here nothing awaits a client: an item is put
into the groups whose filter it passes, and a group's batch is encoded once for all its members.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

import msgspec
import structlog
from msgspec import Raw

from contracts import codec
from contracts.errors import Unavailable
from contracts.tail import CaughtUp
from gateway.index import Source
from gateway.live.client import Client, Frame, frame_of
from gateway.live.messages import JOB_TOPICS, STREAMS, Cursor, Gap, Item, Topic
from gateway.records import Record

log = structlog.get_logger(__name__)

FLUSH_EVERY_S = 0.05
FLUSH_BYTES = 64 * 1024


class Filter(NamedTuple):
    """What a group of clients wants of one topic; None wants all."""

    topic: Topic
    job: str | None = None
    function: str | None = None

    def passes(self, known: Known) -> bool:
        """Say whether an item of this topic is wanted."""
        return self.job in {None, known.job} and self.function in {None, known.function}


class Known(NamedTuple):
    """An item with what filters ask for."""

    item: Item
    job: str | None
    function: str | None

    def filters(self) -> set[Filter]:
        """Every filter that lets this item through: looked up, so that many groups cost nothing."""
        topic = self.item.topic
        return {Filter(topic, job, function) for job in (None, self.job) for function in (None, self.function)}


def narrowed(topic: Topic, job: str | None, function: str | None) -> Filter:
    """The filter of a topic, without what it knows nothing of."""
    return Filter(topic, job if topic in JOB_TOPICS else None, function if topic != "logs" else None)


def known(topic: Topic, record: Record) -> Known | None:
    """Read a record once for everybody; None when it is not valid JSON, CBOR or MessagePack."""
    try:
        if record.media == codec.JSON:
            # All of it is checked: it goes into frames unread, and one bad item would spoil them.
            value, data = msgspec.json.decode(record.data.decode()), record.data
        else:
            value = codec.decode(record.data, dict, record.media, limit=len(record.data))
            data = msgspec.json.encode(value)
    except Exception as error:  # noqa: BLE001  # any record may be wrong in a way of its own
        log.debug("unreadable item", topic=topic, sequence=record.sequence, reason=type(error).__name__)
        return None
    function = value.get("function") if isinstance(value, dict) else None
    job = record.subject.split(".")[3 if topic == "events" else 2] if topic in JOB_TOPICS else None
    item = Item(topic, record.sequence, record.subject, Raw(data))
    return Known(item, job, function if isinstance(function, str) and topic != "logs" else None)


class Group:
    """The clients that want the same of one topic, and the items that wait to be sent to them."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self._items: list[Item] = []
        self._incarnation = ""
        self._size = 0

    def add(self, item: Item, incarnation: str) -> bool:
        """Take an item; True when the batch is large enough to be sent at once."""
        if incarnation != self._incarnation:
            self.flush()
        self._incarnation = incarnation
        self._items.append(item)
        self._size += len(memoryview(item.data)) + len(item.subject)
        return self._size >= FLUSH_BYTES

    def flush(self) -> None:
        """Encode what waits, once, and offer it to every client."""
        if self._items:
            frame = frame_of(self._items, self._incarnation)
            self._items, self._size = [], 0
            for client in self.clients:
                client.offer(frame)


class Hub:
    """Tails of the topics that somebody asked for, and the groups behind them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.empty = asyncio.Event()
        self.empty.set()
        self._clients: set[Client] = set()
        self._groups: dict[Filter, Group] = {}
        self._members: Counter[Topic] = Counter()
        self._started: dict[Topic, asyncio.Future[None]] = {}
        self._positions: dict[Topic, Cursor] = {}
        self._wanted: asyncio.Queue[Topic] = asyncio.Queue()
        self._dirty = asyncio.Event()

    async def run(self) -> None:
        """Follow the topics that are asked for, and send batches, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flush_often())
            while True:
                group.create_task(self._pump(await self._wanted.get()))

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def enter(self, client: Client) -> None:
        """Know a client, so that it is told when the gateway stops."""
        self._clients.add(client)
        self.empty.clear()

    def exit(self, client: Client) -> None:
        """Know a client no more."""
        self._clients.discard(client)
        if not self._clients:
            self.empty.set()

    async def start(self, topic: Topic) -> None:
        """See to it that a topic is followed. Raises Unavailable."""
        if topic not in self._started:
            self._started[topic] = asyncio.get_running_loop().create_future()
            self._wanted.put_nowait(topic)
        await asyncio.shield(self._started[topic])

    def position(self, topic: Topic) -> Cursor:
        """The last record that was taken of a topic that is followed."""
        return self._positions[topic]

    def join(self, client: Client, wanted: Filter) -> None:
        """Give a client everything that comes from now on."""
        group = self._groups.setdefault(wanted, Group())
        # What waits there is older than now; the newcomer must not get it.
        group.flush()
        group.clients.add(client)
        self._members[wanted.topic] += 1

    def leave(self, client: Client, wanted: Filter) -> None:
        """Give a client no more of this."""
        group = self._groups.get(wanted)
        if group is None or client not in group.clients:
            return
        group.clients.discard(client)
        self._members[wanted.topic] -= 1
        if not group.clients:
            del self._groups[wanted]

    def take(self, topic: Topic, record: Record) -> None:
        """Sort one record into the groups that want it."""
        before = self._positions.get(topic)
        self._positions[topic] = (record.incarnation, record.sequence)
        if before is not None and before[0] != record.incarnation:
            self._tell_anew(topic)
        if not self._members[topic]:
            return
        found = known(topic, record)
        if found is None:
            return
        for wanted in found.filters():
            group = self._groups.get(wanted)
            if group is None:
                continue
            if group.add(found.item, record.incarnation):
                group.flush()
            else:
                self._dirty.set()

    def flush(self) -> None:
        """Send what waits in every group."""
        for group in self._groups.values():
            group.flush()

    def close(self) -> None:
        """Let every client go once it has what waits for it."""
        self.flush()
        for client in self._clients:
            client.close()

    def _tell_anew(self, topic: Topic) -> None:
        gap = Gap(topic=topic, reason="incarnation", missed=None, cursor=None)
        for wanted, group in self._groups.items():
            if wanted.topic == topic:
                group.flush()
                for client in group.clients:
                    client.tell(gap)

    async def _flush_often(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(FLUSH_EVERY_S)
            self._dirty.clear()
            self.flush()

    async def _pump(self, topic: Topic) -> None:
        started = self._started[topic]
        try:
            status = await self.source.status(STREAMS[topic])
        except Unavailable as error:
            # The next to ask tries again.
            del self._started[topic]
            started.set_exception(error)
            return
        last = status.state.last_seq
        self._positions[topic] = (status.created, last)
        started.set_result(None)
        async for item in self.source.follow(STREAMS[topic], start=last + 1):
            if not isinstance(item, CaughtUp):
                self.take(topic, item)


class Replay:
    """What a stream keeps behind `sequence`, in batches; `sequence` moves on with what was read."""

    def __init__(self, source: Source, wanted: Filter, *, after: int, subject: str | None) -> None:
        self._source = source
        self._wanted = wanted
        self._subject = subject
        self.sequence = after

    async def frames(self, *, until: int | None = None) -> AsyncGenerator[Frame]:
        """Batches up to `until`, or up to the present."""
        topic = self._wanted.topic
        items: list[Item] = []
        size, incarnation = 0, ""
        source = self._source.follow(STREAMS[topic], start=self.sequence + 1, subject=self._subject, mark=True)
        async with aclosing(source) as records:
            async for record in records:
                if isinstance(record, CaughtUp) or (until is not None and record.sequence > until):
                    break
                self.sequence, incarnation = record.sequence, record.incarnation
                found = known(topic, record)
                if found is None or not self._wanted.passes(found):
                    continue
                items.append(found.item)
                size += len(record.data)
                if size >= FLUSH_BYTES:
                    yield frame_of(items, incarnation)
                    items, size = [], 0
        if items:
            yield frame_of(items, incarnation)
