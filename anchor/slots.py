"""Permits: the right to start one call on one instance, taken before a job is pulled.

A permit is a reserved slot, so the Anchor never holds a job that it cannot start. Whoever
takes one must release it, whatever happens.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Collection

from anchor import router
from anchor.registry import Instance, Registry
from contracts import clock
from contracts.subjects import ANY_PLACE

_POLL_S = 0.1


class Slots:
    """Hands out permits over the registry's instances."""

    def __init__(self, registry: Registry, *, chance: random.Random | None = None) -> None:
        self._registry = registry
        # Chance here spreads load, it guards nothing.
        self._chance = chance or random.Random()
        self._freed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._waiters: dict[str, list[Callable[[], None]]] = defaultdict(list)
        registry.on_free = self.freed

    def when_free(self, function: str, callback: Callable[[], None]) -> None:
        """Call back whenever the function may have gained a slot; earlier callers are called first."""
        self._waiters[function].append(callback)

    def freed(self, function: str) -> None:
        """Tell everyone who waits for a slot of this function."""
        self._freed[function].set()
        for callback in self._waiters[function]:
            callback()

    def take(self, function: str, place: str, *, avoid: Collection[str] = ()) -> Instance | None:
        """Reserve one slot at a place (a node id or `any`), or None when all are taken."""
        node = None if place == ANY_PLACE else place
        instance = router.choose(
            self._registry.instances(function, node=node), clock.monotonic_ns(), self._chance, avoid=avoid
        )
        if instance is not None:
            instance.in_flight += 1
        return instance

    def take_many(self, function: str, place: str, at_most: int) -> list[Instance]:
        """Reserve up to `at_most` slots."""
        taken: list[Instance] = []
        while len(taken) < at_most and (instance := self.take(function, place)) is not None:
            taken.append(instance)
        return taken

    def release(self, instance: Instance) -> None:
        """Give a slot back."""
        instance.in_flight -= 1
        self.freed(instance.function)

    async def wait(self, function: str, place: str, *, avoid: Collection[str], within: float) -> Instance | None:
        """Reserve a slot as soon as there is one, for at most `within` seconds; None after that."""
        try:
            async with asyncio.timeout(within):
                while (instance := self.take(function, place, avoid=avoid)) is None:
                    freed = self._freed[function]
                    freed.clear()
                    try:
                        # Slots also come free by time alone, when pressure on an instance ends.
                        await asyncio.wait_for(freed.wait(), _POLL_S)
                    except TimeoutError:
                        continue
                return instance
        except TimeoutError:
            return None
