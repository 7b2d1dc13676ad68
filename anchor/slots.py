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
    """Hands out permits over the registry's instances.

    `on_free` is called with a function, and the node or None, whenever it may have gained a slot there.
    """

    def __init__(self, registry: Registry, *, chance: random.Random | None = None) -> None:
        self._registry = registry
        # Chance here spreads load, it guards nothing.
        self._chance = chance or random.Random()
        self._freed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.on_free: Callable[[str, str | None], None] = lambda _, __: None
        registry.on_free = self.freed

    def freed(self, function: str, node: str | None = None) -> None:
        """Tell everyone who waits for a slot of this function, on one node or anywhere."""
        self._freed[function].set()
        self.on_free(function, node)

    def take(self, function: str, place: str, *, avoid: Collection[str] = ()) -> Instance | None:
        """Reserve one slot at a place (a node id or `any`), or None when all are taken."""
        node = None if place == ANY_PLACE else place
        instance = router.choose(
            self._registry.instances(function, node=node), clock.monotonic_ns(), self._chance, avoid=avoid
        )
        if instance is not None:
            instance.in_flight += 1
        return instance

    def release(self, instance: Instance) -> None:
        """Give a slot back."""
        instance.in_flight -= 1
        self.freed(instance.function, instance.node)

    async def wait(self, function: str, place: str, *, avoid: Collection[str], within: float) -> Instance | None:
        """Reserve a slot as soon as there is one, for at most `within` seconds; None after that."""
        try:
            async with asyncio.timeout(within):
                while (instance := self.take(function, place, avoid=avoid)) is None:
                    freed = self._freed[function]
                    freed.clear()
                    try:
                        # Slots also come free by time alone, when pressure on an instance ends.
                        async with asyncio.timeout(_POLL_S):
                            await freed.wait()
                    except TimeoutError:
                        continue
                return instance
        except TimeoutError:
            return None
