"""What happened when: marks on the lanes of processes and functions, and when jobs were served."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import count
from typing import Literal

from msgspec import Struct

from contracts import clock
from contracts.modules import Announcement, node_of

Kind = Literal["start", "ready", "kill", "stop", "continue", "slow", "gone", "shown", "upload", "note"]


class Mark(Struct, frozen=True, kw_only=True):
    """One thing that happened, `at` seconds after the scenario began, on a lane.

    `start`: a process began; `ready`: it serves; `kill`, `stop`, `continue`, `slow`: done to it by the scenario;
    `gone`: it ended; `shown`: its trouble can be seen by people; `upload`, `note`: anything else.
    """

    at: float
    lane: str
    kind: Kind
    text: str = ""


class Timeline:
    """The marks of one run in their order, and per function the times at which jobs ended."""

    def __init__(self) -> None:
        self._began_ns = clock.monotonic_ns()
        self.marks: list[Mark] = []
        self.served: defaultdict[str, list[float]] = defaultdict(list)

    def now(self) -> float:
        """Seconds since the beginning."""
        return (clock.monotonic_ns() - self._began_ns) / 1e9

    def mark(self, lane: str, kind: Kind, text: str = "") -> float:
        """Something happened now. Returns when that was."""
        at = self.now()
        self.marks.append(Mark(at=round(at, 3), lane=lane, kind=kind, text=text))
        return at

    def last(self, lane: str, kind: Kind) -> float:
        """When a mark of this kind was last made on a lane."""
        return next(mark.at for mark in reversed(self.marks) if (mark.lane, mark.kind) == (lane, kind))

    def rates_now(self) -> dict[str, float]:
        """Jobs of each function that ended within the last second."""
        since = self.now() - 1.0
        return {function: len(times) - bisect_left(times, since) for function, times in self.served.items()}

    def job(self, function: str) -> None:
        """A job of this function ended now."""
        self.served[function].append(self.now())


class WorkerLanes:
    """Gives each worker a lane, `n1 echo #1`; who replaces it takes the lane over."""

    def __init__(self) -> None:
        self._lanes: dict[str, str] = {}

    def of(self, news: Announcement) -> str:
        """The lane of the worker that was announced."""
        lane = self._lanes.get(news.instance) or self._next(f"{news.node} {news.function}")
        self._lanes[news.instance] = lane
        if news.event in {"stopped", "failed"}:
            del self._lanes[news.instance]
        return lane

    def _next(self, name: str) -> str:
        taken = set(self._lanes.values())
        return next(lane for number in count(1) if (lane := f"{name} #{number}") not in taken)

    def free(self, node: str) -> dict[str, str]:
        """Give up the lanes of a node's workers, whose runtime is gone. Returns them by instance."""
        gone = {name: lane for name, lane in self._lanes.items() if node_of(name) == node}
        for name in gone:
            del self._lanes[name]
        return gone

    def known(self, instance: str) -> str | None:
        """The lane of a worker by its instance, None once it is gone."""
        return self._lanes.get(instance)
