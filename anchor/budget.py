"""How many second attempts are worth making: a share of what succeeded lately, and a small floor.

Without a bound, a fault that hits every job triples the load just when the network can bear
it least. Pure: the caller brings the time.
"""

from __future__ import annotations

import math
from typing import Final

_S: Final = 1_000_000_000
SHARE: Final = 0.1
MEMORY_S: Final = 10.0
"""What was earned by successes fades with this time constant: only recent ones count."""


class Budget:
    """A token bucket with two springs: successes, and the passing of time.

    `floor_per_s` refills up to `burst`, so that a quiet network can retry as well.
    """

    def __init__(self, *, floor_per_s: float, burst: float, share: float = SHARE) -> None:
        self._share = share
        self._floor_per_s = floor_per_s
        self._burst = burst
        self._earned = 0.0
        self._floor = burst
        self._at_ns: int | None = None

    def succeeded(self, now_ns: int) -> None:
        """A job succeeded: it earns a share of a retry."""
        self._pass(now_ns)
        self._earned += self._share

    def take(self, now_ns: int) -> bool:
        """Take the right to one retry, if there is one."""
        self._pass(now_ns)
        # The sum of shares is a rounding error short of what it says.
        if self._earned + max(0.0, self._floor) < 1.0 - 1e-9:
            return False
        self._spend()
        return True

    def reserve(self, now_ns: int) -> int:
        """Take the right to one retry even if it is not there yet. Returns after how many nanoseconds it is."""
        if self.take(now_ns):
            return 0
        self._spend()
        return math.ceil(-self._floor / self._floor_per_s * _S)

    @property
    def left(self) -> float:
        """Retries that could be made at once."""
        return self._earned + max(0.0, self._floor)

    def _spend(self) -> None:
        # What fades goes first.
        earned = min(1.0, self._earned)
        self._earned -= earned
        self._floor -= 1.0 - earned

    def _pass(self, now_ns: int) -> None:
        if self._at_ns is None:
            self._at_ns = now_ns
        passed_s = max(0, now_ns - self._at_ns) / _S
        self._at_ns = max(self._at_ns, now_ns)
        self._earned *= math.exp(-passed_s / MEMORY_S)
        self._floor = min(self._burst, self._floor + passed_s * self._floor_per_s)
