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
        # Drawn and not used yet: drawing anew at every try would fill the new version while the old one is busy.
        self._drawn: dict[tuple[str, str], bool] = {}
        registry.on_free = self.freed

    def freed(self, function: str, node: str | None = None) -> None:
        """Tell everyone who waits for a slot of this function, on one node or anywhere."""
        self._freed[function].set()
        self.on_free(function, node)

    def take(
        self, function: str, place: str, *, avoid: Collection[str] = (), digest: str | None = None, again: bool = False
    ) -> Instance | None:
        """Reserve one slot at a place (a node id or `any`), or None when all are taken.

        `digest` asks for one version; `again`: the job failed before, and goes to no version on trial.
        """
        node = None if place == ANY_PLACE else place
        candidates = self._registry.instances(function, node=node)
        versions, now = self._registry.versions(function), clock.monotonic_ns()
        if digest is not None:
            ours = [one for one in candidates if one.card.digest == digest]
            instance = router.choose(ours, now, self._chance, avoid=avoid)
        else:
            drawn = not again and versions.weight > 0 and self._draw(function, place, versions.weight)
            instance = router.pick(candidates, versions, now, self._chance, on_trial=drawn, avoid=avoid)
            if instance is not None and not again:
                self._drawn.pop((function, place), None)
        if instance is not None:
            instance.in_flight += 1
        return instance

    def _draw(self, function: str, place: str, weight: float) -> bool:
        key = (function, place)
        if key not in self._drawn:
            self._drawn[key] = self._chance.random() < weight
        return self._drawn[key]

    def release(self, instance: Instance) -> None:
        """Give a slot back."""
        instance.in_flight -= 1
        self.freed(instance.function, instance.node)

    async def wait(
        self,
        function: str,
        place: str,
        *,
        avoid: Collection[str],
        within: float,
        digest: str | None = None,
        again: bool = False,
    ) -> Instance | None:
        """Reserve a slot as soon as there is one, for at most `within` seconds; None after that."""
        try:
            async with asyncio.timeout(within):
                while (instance := self.take(function, place, avoid=avoid, digest=digest, again=again)) is None:
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
