"""Round-trip statistics by the definitions of RFC 2681, 3393, 4737, 5481 and 6673. Pure functions.

"Jitter" means too many things, so the word does not occur: IPDV compares neighbours in the
stream, PDV compares every packet with the fastest one. Both are applied to round trips here,
while their RFCs define them for one way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from runtime.sdk import Report


class RoundTrip(Report, frozen=True):
    """Distribution of the round-trip delays that were measured, in nanoseconds (RFC 2681 section 4).

    `median_ns` is the mean of the middle two when there are two; percentiles are nearest rank,
    always a delay that occurred (RFC 2330 section 11.3). `stddev_ns` is the sample's, None
    for fewer than two. `ipdv_*`: absolute difference between packets that follow each other in
    the stream and both came back (RFC 3393). `pdv_*`: excess over `min_ns` (RFC 5481 section 4.2).
    """

    min_ns: int
    mean_ns: int
    median_ns: int
    max_ns: int
    stddev_ns: int | None
    p5_ns: int
    p50_ns: int
    p95_ns: int
    p99_ns: int
    ipdv_mean_abs_ns: int | None
    ipdv_max_abs_ns: int | None
    pdv_p95_ns: int
    pdv_p999_ns: int


def round_trip(delays: Sequence[int | None]) -> RoundTrip | None:
    """Summarise delays in the order of sending, where None is a packet that did not come back."""
    seen = sorted(delay for delay in delays if delay is not None)
    if not seen:
        return None
    count = len(seen)
    total = sum(seen)
    stddev = None
    if count > 1:
        # In integers, since squared nanoseconds are more than a float can tell apart.
        squares = sum(delay * delay for delay in seen)
        stddev = math.isqrt((count * squares - total * total) // (count * (count - 1)))
    steps = ipdv(delays)
    fastest = seen[0]
    return RoundTrip(
        min_ns=fastest,
        mean_ns=_mean(total, count),
        median_ns=(seen[(count - 1) // 2] + seen[count // 2]) // 2,
        max_ns=seen[-1],
        stddev_ns=stddev,
        p5_ns=percentile(seen, 50),
        p50_ns=percentile(seen, 500),
        p95_ns=percentile(seen, 950),
        p99_ns=percentile(seen, 990),
        ipdv_mean_abs_ns=_mean(sum(steps), len(steps)) if steps else None,
        ipdv_max_abs_ns=max(steps, default=None),
        pdv_p95_ns=percentile(seen, 950) - fastest,
        pdv_p999_ns=percentile(seen, 999) - fastest,
    )


def percentile(ascending: Sequence[int], per_mille: int) -> int:
    """The smallest value that at least `per_mille` thousandths of all values do not exceed."""
    rank = -(-per_mille * len(ascending) // 1000)
    return ascending[max(rank, 1) - 1]


def ipdv(delays: Sequence[int | None]) -> list[int]:
    """Absolute differences between neighbours in the stream; a lost packet has none (RFC 3393)."""
    pairs = itertools.pairwise(delays)
    return [abs(after - before) for before, after in pairs if before is not None and after is not None]


def loss_ratio(decided: int, lost: int) -> float | None:
    """Share of packets lost, of those whose waiting time is over (RFC 6673). None if there are none."""
    return lost / decided if decided else None


def reordered(arrivals: Sequence[int]) -> int:
    """Count sequence numbers that arrive after a larger one did (RFC 4737 section 3.3)."""
    expected = 0
    late = 0
    for sequence in arrivals:
        if sequence < expected:
            late += 1
        else:
            expected = sequence + 1
    return late


def _mean(total: int, count: int) -> int:
    return (2 * total + count) // (2 * count)
