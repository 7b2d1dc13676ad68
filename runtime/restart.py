"""What follows the end of a worker that nobody asked to stop. Pure decisions, no clock.

Every slot of a function has its own history, so that killing eight workers at once is eight
first failures and not a crash loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEALTHY_S = 30.0
SHORT_LIVES = 5
FIRST_DELAY_S = 0.1
MOST_DELAY_S = 10.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start it again until its deployment changes."""

    reason: str


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubles from 0.1 to 10."""
    # The exponent is bounded first: 2.0**1100 is an error, not a large number.
    return min(MOST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(max(0, failures - 1), 16))


def short_lives(lifetimes: Sequence[float], *, healthy: float = HEALTHY_S) -> int:
    """How many lives in a row, up to the last one, were shorter than a healthy one."""
    row = 0
    for lifetime in reversed(lifetimes):
        if lifetime >= healthy:
            break
        row += 1
    return row


def after_exit(lifetimes: Sequence[float], *, healthy: float = HEALTHY_S, limit: int = SHORT_LIVES) -> Restart | GiveUp:
    """Decide from the lifetimes in seconds of one slot's last runs, the newest last.

    Short lives in a row are waited out for longer and longer; a healthy one ends the row.
    """
    row = short_lives(lifetimes, healthy=healthy)
    if row >= limit:
        return GiveUp(f"crash loop: {row} lives in a row shorter than {healthy:g} s")
    return Restart(backoff(row))
