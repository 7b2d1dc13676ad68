"""Gives free slots to the queues that wait: whoever frees one, or gains a job, asks for a deal.

Deals are made at the end of the loop's turn, so that one turn's changes are looked at once, and
so that a job in hand that waits for another instance takes its slot first.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

from anchor.instance import Instance
from anchor.slots import Slots
from anchor.turns import Turns, Wish
from contracts.jobs import JobClass
from contracts.subjects import ANY_PLACE

_CLASSES: tuple[JobClass, ...] = ("live", "batch")


class Taker(Protocol):
    """A queue as the dealer sees it."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Class, function and place."""
        ...

    @property
    def wants(self) -> int:
        """Slots it could use now, besides those it was given."""
        ...

    def grant(self, permit: Instance) -> None:
        """Take a reserved slot; whoever has it must release it."""
        ...


class Dealer:
    """Deals the slots of one Anchor."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._takers: defaultdict[str, dict[tuple[str, str], Taker]] = defaultdict(dict)
        self._turns: defaultdict[tuple[str, str], Turns] = defaultdict(Turns)
        self._due: dict[tuple[str, str | None], None] = {}
        self._closed = False
        slots.on_free = self._later

    def join(self, taker: Taker) -> None:
        """A queue that may want slots."""
        job_class, function, place = taker.key
        self._takers[function][job_class, place] = taker

    def leave(self, taker: Taker) -> None:
        """A queue that wants no slots any more."""
        job_class, function, place = taker.key
        takers = self._takers[function]
        takers.pop((job_class, place), None)
        if not takers:
            del self._takers[function]
            for turn in [turn for turn in self._turns if turn[0] == function]:
                del self._turns[turn]

    def ask(self, taker: Taker) -> None:
        """A queue may want more slots than it has."""
        if taker.wants:
            self._later(taker.key[1], taker.key[2])

    def ask_now(self, taker: Taker) -> None:
        """A queue has a job more: its request should leave together with the job.

        A slot that is free at this moment is one that nobody else has a use for.
        """
        if taker.wants and not self._due and not self._closed:
            self._deal(taker.key[1], taker.key[2])
        else:
            self.ask(taker)

    def close(self) -> None:
        """Deal no more."""
        self._closed = True

    def _later(self, function: str, place: str | None) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self._deal_due)
        self._due[function, place] = None

    def _deal_due(self) -> None:
        due, self._due = self._due, {}
        for function, place in due:
            places = [place] if place is not None else {key[1] for key in self._takers[function]}
            for one in places:
                while not self._closed and self._deal(function, one):
                    pass

    def _deal(self, function: str, place: str) -> bool:
        """Give one slot at a place away. False when there is none, or nobody wants it."""
        takers = self._takers[function]
        if not any(self._wishes(takers, place)):
            return False
        permit = self._slots.take(function, place)
        if permit is None:
            return False
        wish = self._turns[function, permit.node].next(list(self._wishes(takers, permit.node)))
        takers[wish].grant(permit)
        return True

    @staticmethod
    def _wishes(takers: dict[tuple[str, str], Taker], place: str) -> Iterator[Wish]:
        for job_class in _CLASSES:
            for at in dict.fromkeys((place, ANY_PLACE)):
                taker = takers.get((job_class, at))
                if taker is not None and taker.wants:
                    yield job_class, at
