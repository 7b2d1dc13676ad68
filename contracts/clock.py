"""The clocks: one that steps with the world, one that never does.

Wall time is for saying when something happened (RFC 3339 text on the wire); durations
come from the monotonic clock alone. Only this module may ask for wall time.
"""

from __future__ import annotations

import ctypes
import time
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from msgspec import Struct

monotonic_ns = time.monotonic_ns
"""Nanoseconds on a clock that never steps. Only differences mean anything."""

wall_ns = time.time_ns
"""Nanoseconds since the Unix epoch; comparable with kernel packet timestamps."""


def rfc3339(epoch_ns: int) -> str:
    """Format nanoseconds since the epoch as RFC 3339 UTC with microseconds."""
    seconds, rest = divmod(epoch_ns, 1_000_000_000)
    return f"{_to_the_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    # Several stamps a job, thousands of jobs a second: most of them fall into the same few seconds.
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def utc_now() -> str:
    """Wall time as RFC 3339 UTC with microseconds."""
    return rfc3339(wall_ns())


def epoch_ns(text: str) -> int:
    """Read RFC 3339 text with a zone into nanoseconds since the epoch. Raises ValueError."""
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError("a time needs a zone, such as a final Z")
    whole = stamp.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000_000 + stamp.microsecond * 1000


class ClockQuality(Struct, frozen=True, kw_only=True):
    """How far the node's wall clock can be trusted (RFC 7679 section 3.7, RFC 5905).

    Unknown values are None, never 0. `error_ns` bounds the error of one absolute stamp.
    """

    source: str
    synchronised: bool | None
    offset_ns: int | None = None
    error_ns: int | None = None


class _Timex(ctypes.Structure):
    """Linux `struct timex` for adjtimex(2), the part up to `status` and the padding after it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("padding", ctypes.c_byte * 256),
    )


_STA_UNSYNC = 0x0040
_STA_NANO = 0x2000


@cache
def _adjtimex() -> Any:
    """The C library's function, or None where it has none."""
    try:
        return ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None


def clock_quality() -> ClockQuality:
    """Ask the kernel how well its clock is disciplined, by adjtimex(2) in read-only mode."""
    timex, adjtimex = _Timex(), _adjtimex()
    if adjtimex is None or adjtimex(ctypes.byref(timex)) < 0:
        return ClockQuality(source="unknown", synchronised=None)
    if timex.status & _STA_UNSYNC:
        return ClockQuality(source="kernel", synchronised=False)
    unit = 1 if timex.status & _STA_NANO else 1000
    return ClockQuality(
        source="kernel", synchronised=True, offset_ns=timex.offset * unit, error_ns=timex.maxerror * 1000
    )
