"""How many calls an instance can take at once, learned from the wait inside it.

Additive increase, multiplicative decrease (AIMD), fed by the delay a call met in the worker's
own queue and by 429 answers. How long a job takes is the behaviour of its target, so it never
counts. Pure: the caller brings the time.
"""

from __future__ import annotations

from typing import Final

_MS: Final = 1_000_000
LOW: Final = 1.0
"""No instance is given less than one call at a time."""
DELAY_NS: Final = 100 * _MS
"""A longer wait in the worker says that it was given too much."""
CUT: Final = 0.85
CUT_EVERY_NS: Final = 1000 * _MS
"""Calls that wait behind each other tell of one overload, so it is answered once."""
BUSY: Final = 0.8
"""A limit that is not used proves nothing, and does not grow."""


class Limiter:
    """The limit of one instance, between one and the cap that its bundle declares."""

    __slots__ = ("_cut_ns", "cap", "limit")

    def __init__(self, cap: int, *, start: float | None = None) -> None:
        self.cap = max(1, cap)
        self.limit = float(self.cap) if start is None else min(max(LOW, start), float(self.cap))
        self._cut_ns: int | None = None

    def set_cap(self, cap: int) -> None:
        """Take over what the worker says of itself. A limit that was not learned follows the cap."""
        cap = max(1, cap)
        learned = self.limit < self.cap
        self.limit = min(self.limit, float(cap)) if learned else float(cap)
        self.cap = cap

    def succeeded(self, queue_ns: int, in_flight: int, now_ns: int) -> None:
        """A call ended after it had waited so long in the worker; `in_flight` counts it too."""
        if queue_ns > DELAY_NS:
            self.pressed(now_ns)
        elif in_flight >= BUSY * int(self.limit):
            # Of the whole calls that fit: of 1.7 only one can be used, and it would never grow.
            self.limit = min(float(self.cap), self.limit + 1.0 / self.limit)

    def pressed(self, now_ns: int) -> None:
        """The worker refused a call, or let it wait: it was given too much."""
        if self._cut_ns is None or now_ns - self._cut_ns >= CUT_EVERY_NS:
            self._cut_ns = now_ns
            self.limit = max(LOW, self.limit * CUT)
