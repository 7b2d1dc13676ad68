"""Anchors tell each other what they spent, so that a budget holds for all of them together.

About every 100 ms, sooner when much was spent, each publishes what it took from which bucket;
the others charge it. A new Anchor, or one that was cut off, asks for all levels. Once a second
each also tells how many jobs of every queue it has in hand, so that others can tell what waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import structlog
from nats.aio.msg import Msg

from anchor.quotas import Quotas
from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.errors import MmnError
from contracts.quotas import MOST_AT_ONCE, Held, Spent, Tally

log = structlog.get_logger(__name__)

Queue = tuple[str, str, str]
"""Class, function and place."""

EVERY_S: Final = 0.1
_SPACING_S = 0.01
LEARN_S: Final = 0.4
"""How long the others have to answer a hello."""
_TELL_ALL_EVERY_NS = 200_000_000
_HELD_EVERY_NS = 1_000_000_000
_BELIEVED_NS = 3_000_000_000
_MOST_ANCHORS = 64


class Shares:
    """One Anchor's part in the budgets of all. `held` names the jobs it has in hand, by queue."""

    def __init__(
        self, bus: Bus, quotas: Quotas, held: Callable[[], Mapping[Queue, int]], *, every: float = EVERY_S
    ) -> None:
        self._bus = bus
        self._quotas = quotas
        self._held = held
        self._every = every
        self._hurry = asyncio.Event()
        self._hello = True
        self._tell_all = False
        self._told_all_ns = 0
        self._told_held_ns = 0
        self._had_held = False
        self._elsewhere: dict[str, tuple[int, dict[Queue, int]]] = {}
        quotas.hurry = self._hurry.set

    async def open(self) -> None:
        """Listen to the others."""
        await self._bus.subscribe(subjects.SPENT, self._heard)
        self._bus.on_reconnect(self._reconnected)

    def _reconnected(self) -> None:
        self._hello = True
        self._hurry.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._every):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()
            for tally in self._news(clock.monotonic_ns()):
                data = codec.encode(tally, codec.MSGPACK)
                await self._bus.publish(subjects.spent(self._bus.identity), data, media=codec.MSGPACK)
            await asyncio.sleep(_SPACING_S)

    async def learn(self) -> None:
        """Wait until the others have told what is spent, if there are others. Needs `run`."""
        self._hello = True
        self._hurry.set()
        await asyncio.sleep(LEARN_S)

    def elsewhere(self, now_ns: int) -> Counter[Queue]:
        """Jobs in the hands of other Anchors, by queue, as far as they told lately."""
        found: Counter[Queue] = Counter()
        for at_ns, held in self._elsewhere.values():
            if now_ns - at_ns < _BELIEVED_NS:
                found.update(held)
        return found

    # --- telling ---------------------------------------------------------------------------------------------

    def _news(self, now_ns: int) -> Iterator[Tally]:
        """What to publish now: nothing, or as many messages as it takes."""
        spent = self._spent(now_ns)
        held = self._in_hand(now_ns)
        hello, self._hello = self._hello, False
        if not (spent or hello) and held is None:
            return
        for start in range(0, max(1, len(spent)), MOST_AT_ONCE):
            part = spent[start : start + MOST_AT_ONCE]
            yield Tally(anchor=self._bus.identity, hello=hello and start == 0, spent=part, held=held)
            held = None

    def _spent(self, now_ns: int) -> list[Spent]:
        pending, self._quotas.pending = self._quotas.pending, {}
        buckets = self._quotas.buckets
        told = [
            Spent(kind=kind, key=key, jobs=jobs, level=buckets[kind].level(key, now_ns))
            for (kind, key), jobs in pending.items()
        ]
        if self._tell_all and now_ns - self._told_all_ns >= _TELL_ALL_EVERY_NS:
            self._tell_all, self._told_all_ns = False, now_ns
            told += [
                Spent(kind=kind, key=key, jobs=0.0, level=level)
                for kind, kept in buckets.items()
                for key, level in kept.levels(now_ns).items()
                if (kind, key) not in pending
            ]
        return told

    def _in_hand(self, now_ns: int) -> list[Held] | None:
        if now_ns - self._told_held_ns < _HELD_EVERY_NS:
            return None
        held = Counter(self._held()).most_common(MOST_AT_ONCE)
        if not held and not self._had_held:
            return None
        self._told_held_ns, self._had_held = now_ns, bool(held)
        return [
            Held(job_class=job_class, function=function, place=place, jobs=jobs)
            for (job_class, function, place), jobs in held
        ]

    # --- hearing ---------------------------------------------------------------------------------------------

    async def _heard(self, msg: Msg) -> None:
        try:
            tally = codec.decode(msg.data, Tally, codec.content_type(msg.headers), at="tally")
        except MmnError as error:
            log.warning("unsound tally", subject=msg.subject, error=str(error))
            return
        # The subject is bound to the sender's identity, what stands in the message is not.
        if msg.subject != subjects.spent(tally.anchor) or tally.anchor == self._bus.identity:
            return
        now = clock.monotonic_ns()
        for spent in tally.spent:
            self._quotas.charge((spent.kind, spent.key), spent.jobs, spent.level, now)
        if tally.hello:
            self._tell_all = True
            self._hurry.set()
        if tally.held is not None:
            self._keep_held(tally.anchor, tally.held, now)

    def _keep_held(self, anchor: str, held: list[Held], now_ns: int) -> None:
        self._elsewhere.pop(anchor, None)
        self._elsewhere[anchor] = (now_ns, {(one.job_class, one.function, one.place): one.jobs for one in held})
        if len(self._elsewhere) > _MOST_ANCHORS:
            del self._elsewhere[next(iter(self._elsewhere))]
