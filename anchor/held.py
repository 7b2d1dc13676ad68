"""A job in an Anchor's hand: its message, the worker that has it, and the end of the work when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from anchor.instance import Instance
from contracts.pull import Delivery

_END_WITHIN_S = 3.0


class Held:
    """A job in hand. `calling` is the worker that has it now."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.calling: Instance | None = None
        self.cancelled = False
        self._until: asyncio.Timeout | None = None

    async def unless_cancelled(self, work: Coroutine[None, None, None]) -> None:
        """Do the work to its end, or until the job is cancelled."""
        try:
            async with asyncio.timeout(None) as self._until:
                await work
        except TimeoutError:
            if self._until is None or not self._until.expired():
                raise
        finally:
            self._until = None

    def cancel(self) -> Instance | None:
        """The job has its result: end the work. Returns the worker that has to be told first, if one has the job.

        The slot is free when the worker says so; one that does not say it is not waited for.
        """
        self.cancelled = True
        if self._until is not None:
            patience = _END_WITHIN_S if self.calling is not None else 0.0
            self._until.reschedule(asyncio.get_running_loop().time() + patience)
        return self.calling
