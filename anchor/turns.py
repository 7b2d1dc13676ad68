"""Which queue gets a free slot: `live` before `batch`, and every tenth slot to `batch` all the same.

Queues that could use a slot differ in class and place (the slot's node, or `any`). Within a class
the two places take turns. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from contracts.jobs import JobClass
from contracts.subjects import ANY_PLACE

BATCH_EVERY: Final = 10
"""Of so many slots in a row for which both classes wait, `batch` gets the last."""

Wish = tuple[JobClass, str]
"""Class and place of a queue that could use the slot."""


@dataclass(slots=True)
class Turns:
    """The turns at one node's slots of one function."""

    live_in_a_row: int = 0
    last_place: dict[JobClass, str] = field(default_factory=dict)

    def next(self, wishes: Collection[Wish]) -> Wish:
        """Choose one of the queues that wait, and count its turn. There must be one."""
        classes = {job_class for job_class, _ in wishes}
        chosen: JobClass = "live" if "live" in classes else "batch"
        if len(classes) > 1:
            if self.live_in_a_row >= BATCH_EVERY - 1:
                chosen = "batch"
            self.live_in_a_row = 0 if chosen == "batch" else self.live_in_a_row + 1
        elif chosen == "batch":
            self.live_in_a_row = 0
        places = sorted((place for job_class, place in wishes if job_class == chosen), key=lambda at: at == ANY_PLACE)
        # The node's own queue first: `any` has other nodes.
        place = places[-1] if self.last_place.get(chosen) == places[0] else places[0]
        self.last_place[chosen] = place
        return chosen, place
