"""A circuit breaker per instance, and how many of a function's instances may be out at once.

A worker that answers every call with a fault would otherwise get more calls than a sound one,
since it is done with them so fast. Measured failures of targets are successes here, and 429 is
pressure: neither feeds a breaker. pybreaker is the state machine; time comes from the caller,
since pybreaker's own is the wall clock.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

_S: Final = 1_000_000_000
IN_A_ROW: Final = 5
RATIO: Final = 0.5
RATIO_OF_AT_LEAST: Final = 20
OPEN_S: Final = 30.0
_REMEMBERED: Final = 40
_MOST_STRIKES: Final = 10
_JITTER: Final = 0.2

BreakerState = Literal["closed", "open", "half-open"]
_STATES: Final[dict[str, BreakerState]] = {
    STATE_CLOSED: "closed",
    STATE_OPEN: "open",
    STATE_HALF_OPEN: "half-open",
}


class _Faulted(Exception):
    """Carries a fault into pybreaker, which only counts exceptions."""


def _succeed() -> None:
    return


def _fail() -> None:
    raise _Faulted


class Breaker:
    """Opens after five faults in a row, or when more than half of at least twenty calls were faults.

    While open, results are not counted: they come from calls that began before. After `open_s`, longer
    each time in a row, it is half open: the first call that begins and ends then decides.
    """

    __slots__ = ("_chance", "_machine", "_open_s", "_recent", "_since_ns", "_strikes", "_until_ns", "opened_ns")

    def __init__(self, *, open_s: float = OPEN_S, chance: random.Random | None = None) -> None:
        # With no timeout of its own, pybreaker asks no clock.
        self._machine = CircuitBreaker(fail_max=IN_A_ROW, reset_timeout=0, throw_new_error_on_trip=False)
        self._recent: deque[bool] = deque(maxlen=_REMEMBERED)
        self._open_s = open_s
        self._chance = chance or random.Random()
        self._since_ns = 0
        self._until_ns = 0
        self._strikes = 0
        self.opened_ns: int | None = None

    @property
    def state(self) -> BreakerState:
        """Closed: it works; open: it is left alone; half-open: one call may try."""
        return _STATES[self._machine.current_state]

    @property
    def closed(self) -> bool:
        return self.opened_ns is None

    def ended(self, *, ok: bool, began_ns: int, now_ns: int) -> bool:
        """A call ended, well or with a fault of the worker. Returns whether the state changed."""
        before = self.state
        if before == "open" or began_ns < self._since_ns:
            return False
        self._recent.append(ok)
        if ok:
            if before == "closed" and not self._machine.fail_counter:
                # The way of nearly every job: nothing to tell the machine.
                self._forgive()
                return False
            self._machine.call(_succeed)
        else:
            with contextlib.suppress(_Faulted):
                self._machine.call(_fail)
            if self.state == "closed" and self._mostly_faults():
                self._machine.open()
        return self._changed(before, now_ns)

    def tick(self, now_ns: int) -> bool:
        """Let one call try when the time is over. Returns whether the state changed."""
        if self.opened_ns is None or self.state != "open" or now_ns < self._until_ns:
            return False
        self._machine.half_open()
        self._since_ns = now_ns
        return True

    def _mostly_faults(self) -> bool:
        return len(self._recent) >= RATIO_OF_AT_LEAST and self._recent.count(False) > RATIO * len(self._recent)

    def _forgive(self) -> None:
        if self._strikes and len(self._recent) >= RATIO_OF_AT_LEAST:
            self._strikes = 0

    def _changed(self, before: BreakerState, now_ns: int) -> bool:
        after = self.state
        if after == before:
            return False
        self._since_ns = now_ns
        self._recent.clear()
        if after == "closed":
            self.opened_ns = None
            return True
        if self.opened_ns is None:
            self.opened_ns = now_ns
        self._strikes = min(_MOST_STRIKES, self._strikes + 1)
        # Jitter, so that several Anchors do not all try the same worker in the same moment.
        lasts_s = self._open_s * self._strikes * self._chance.uniform(1 - _JITTER, 1 + _JITTER)
        self._until_ns = now_ns + int(lasts_s * _S)
        return True


class Standing(NamedTuple):
    """How one instance stands: `up` by its health, `opened_ns` since when its breaker is not closed."""

    id: str
    up: bool
    opened_ns: int | None


def ejections(group: Iterable[Standing]) -> set[str]:
    """Which of a function's instances are left alone.

    At most a third (but one of two may go), those that were opened first; nobody when under half
    are healthy: then the fault is hardly theirs, and a doubtful worker is better than none.
    """
    members = list(group)
    healthy = sum(member.up and member.opened_ns is None for member in members)
    if 2 * healthy < len(members):
        return set()
    opened = sorted((member.opened_ns, member.id) for member in members if member.opened_ns is not None)
    return {name for _, name in opened[: max(1, len(members) // 3)]}
