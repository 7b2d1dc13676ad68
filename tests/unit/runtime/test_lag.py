"""The delay of the event loop while a job ran."""

import asyncio

from contracts.clock import monotonic_ns
from runtime.lag import LagHistory


async def test_a_blocked_loop_shows_for_the_jobs_of_that_time_only() -> None:
    lag = LagHistory()
    measuring = asyncio.ensure_future(lag.run())
    await asyncio.sleep(0)
    before = monotonic_ns()
    while monotonic_ns() - before < 150_000_000:
        pass
    # Seen already, although the timer could not fire yet.
    assert lag.since(before) >= 90_000_000
    await asyncio.sleep(0.06)
    assert lag.since(before) >= 90_000_000
    assert lag.since(monotonic_ns()) < 50_000_000
    measuring.cancel()
