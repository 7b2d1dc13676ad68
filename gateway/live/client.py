"""One client's queue of encoded frames: bounded, and honest about what it had to drop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from msgspec import Struct

from gateway.live.messages import Batch, Cursor, Gap, Item, Topic, encode

QUEUE_BYTES = 4 * 1024 * 1024
QUEUE_FRAMES = 512
QUEUE_MESSAGES = 256
"""How many messages of the protocol itself may wait: they are never dropped, the client is."""


class Frame(NamedTuple):
    """An encoded batch of one topic, shared by all who get it."""

    text: str
    items: list[Item]
    incarnation: str

    @property
    def topic(self) -> Topic:
        return self.items[0].topic

    @property
    def last(self) -> int:
        return self.items[-1].seq


def frame_of(items: list[Item], incarnation: str) -> Frame:
    """Encode items of one topic and one incarnation of its stream, oldest first."""
    cursor: Cursor = (incarnation, items[-1].seq)
    return Frame(encode(Batch(items=items, cursors={items[0].topic: cursor})), items, incarnation)


class Client:
    """Frames that wait to be sent to one client."""

    def __init__(self, *, frames: int = QUEUE_FRAMES, size: int = QUEUE_BYTES) -> None:
        self._waiting: deque[Frame | str] = deque()
        self._held: dict[Topic, deque[Frame]] = {}
        self._floors: dict[Topic, tuple[str, int]] = {}
        self._most_frames, self._most_size = frames, size
        self._size = 0
        self._held_size = 0
        self._messages = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.closed = False
        self.overrun = asyncio.Event()
        """Set when too many messages of the protocol wait: the client does not read."""

    def tell(self, message: Struct) -> None:
        """Queue a message of the protocol itself; these are never dropped, but see `overrun`."""
        if self._messages >= QUEUE_MESSAGES:
            self.overrun.set()
            return
        text = encode(message)
        self._waiting.append(text)
        self._messages += 1
        self._size += len(text)
        self._wake.set()

    def offer(self, frame: Frame) -> None:
        """Queue a live batch; when there is no room, drop what waits and say so."""
        rest = self._above_floor(frame)
        if rest is None:
            return
        held = self._held.get(rest.topic)
        if held is None:
            self._append(rest)
        else:
            held.append(rest)
            self._held_size += len(rest.text)
        if self._size + self._held_size > self._most_size or self._count() > self._most_frames:
            self._skip()

    async def put(self, frame: Frame) -> None:
        """Queue a replayed batch, waiting for room: what is kept need not be dropped."""
        await self._room.wait()
        self._append(frame)

    def hold(self, topic: Topic) -> None:
        """Keep live batches of a topic back while older ones are replayed."""
        self._held[topic] = deque()

    def release(self, topic: Topic) -> None:
        """Let the batches that were kept back follow."""
        for frame in self._held.pop(topic, ()):
            self._held_size -= len(frame.text)
            self._append(frame)

    def floor(self, topic: Topic, incarnation: str, sequence: int) -> None:
        """Let live items of a topic up to `sequence` pass by: they were replayed."""
        self._floors[topic] = (incarnation, sequence)

    def forget(self, topic: Topic) -> None:
        """Undo `hold` and `floor`: the subscription ends."""
        self.release(topic)
        self._floors.pop(topic, None)

    async def next(self) -> str | None:
        """The next message to send; None once the client is closed and nothing waits."""
        while not self._waiting:
            if self.closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        frame = self._waiting.popleft()
        text = frame if isinstance(frame, str) else frame.text
        self._messages -= isinstance(frame, str)
        self._size -= len(text)
        self._measure()
        return text

    def close(self) -> None:
        """Send what waits, then nothing more."""
        self.closed = True
        self._wake.set()

    def _above_floor(self, frame: Frame) -> Frame | None:
        floor = self._floors.get(frame.topic)
        if floor is None:
            return frame
        incarnation, sequence = floor
        if frame.incarnation == incarnation and frame.last <= sequence:
            return None
        del self._floors[frame.topic]
        if frame.incarnation != incarnation or frame.items[0].seq > sequence:
            return frame
        return frame_of([item for item in frame.items if item.seq > sequence], incarnation)

    def _append(self, frame: Frame) -> None:
        self._waiting.append(frame)
        self._size += len(frame.text)
        self._measure()
        self._wake.set()

    def _count(self) -> int:
        return len(self._waiting) + sum(len(held) for held in self._held.values())

    def _measure(self) -> None:
        # Half of the room stays for what is live. What is held back counts not: only the end of a replay frees it.
        if self._size > self._most_size // 2 or len(self._waiting) > self._most_frames // 2:
            self._room.clear()
        else:
            self._room.set()

    def _skip(self) -> None:
        """Drop every batch that waits, and leave a gap for each topic in their place."""
        missed: dict[Topic, Gap] = {}
        kept: list[str] = []
        for frame in [*self._waiting, *(frame for held in self._held.values() for frame in held)]:
            if isinstance(frame, str):
                kept.append(frame)
                continue
            before = missed.get(frame.topic)
            count = len(frame.items) + (before.missed or 0 if before else 0)
            cursor = (frame.incarnation, frame.last)
            missed[frame.topic] = Gap(topic=frame.topic, reason="slow", missed=count, cursor=cursor)
        for held in self._held.values():
            held.clear()
        self._waiting = deque([*kept, *(encode(gap) for gap in missed.values())])
        self._size = sum(len(text) for text in self._waiting if isinstance(text, str))
        self._held_size = 0
        self._messages = len(self._waiting)
        if self._messages > QUEUE_MESSAGES:
            self.overrun.set()
        self._measure()
        self._wake.set()
