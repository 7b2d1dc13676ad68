"""What is remembered of a slot's earlier workers: how long they lived, and when the next may start.

No effects: the caller brings the time, in seconds of its own clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from runtime.reconciler import Slot
from runtime.restart import GiveUp, after_exit, backoff, short_lives

_KEPT = 10


class Lives:
    """The books of all slots of a node."""

    def __init__(self) -> None:
        self._lived: defaultdict[Slot, list[float]] = defaultdict(list)
        self._blameless: defaultdict[Slot, int] = defaultdict(int)
        self._held: dict[Slot, float] = {}
        self._given_up: dict[Slot, str] = {}

    @property
    def given_up(self) -> Collection[Slot]:
        """Slots that are not filled again."""
        return self._given_up

    def held(self, now: float) -> dict[Slot, float]:
        """Slots that wait, and until when."""
        return {slot: until for slot, until in self._held.items() if until > now}

    def short(self, slot: Slot, lifetime: float | None = None) -> int:
        """How many short lives in a row the slot has seen, with one that ends now if it is given."""
        return short_lives([*self._lived[slot], *([] if lifetime is None else [lifetime])])

    def ended(self, slot: Slot, lifetime: float, now: float, *, blameless: bool) -> GiveUp | None:
        """Note the end of a worker that nobody asked to leave. Returns GiveUp when it has no successor."""
        if blameless:
            self._blameless[slot] += 1
            self._held[slot] = now + backoff(self._blameless[slot])
            return None
        lived = self._lived[slot] = [*self._lived[slot], lifetime][-_KEPT:]
        decision = after_exit(lived)
        if isinstance(decision, GiveUp):
            self._given_up[slot] = decision.reason
            return decision
        self._held[slot] = now + decision.delay
        return None

    def ready(self, slot: Slot) -> None:
        """Its worker can be called: what kept others from starting is over."""
        self._blameless.pop(slot, None)

    def forgive(self) -> None:
        """What kept workers from starting is over: those that wait for that alone wait no longer."""
        for slot in self._blameless:
            self._held.pop(slot, None)
        self._blameless.clear()

    def forget(self, function: str, digest: str | None = None) -> None:
        """Begin anew with a function, or with one version of it."""
        for memory in (self._lived, self._blameless, self._held, self._given_up):
            for slot in [slot for slot in memory if slot.function == function and digest in {None, slot.digest}]:
                del memory[slot]
