"""Blocks the event loop for as long as asked, as a function that computes would."""

from runtime.sdk import Context, Params, Report, monotonic_ns


class BusyParams(Params, frozen=True):
    """How long."""

    seconds: float = 60.0


class BusyReport(Report, frozen=True):
    """How often it went round."""

    rounds: int


async def measure(params: BusyParams, ctx: Context) -> BusyReport:
    """Never let the loop turn."""
    ctx.progress({"kind": "busy"})
    until = monotonic_ns() + int(params.seconds * 1e9)
    rounds = 0
    while monotonic_ns() < until:
        rounds += 1
    return BusyReport(rounds=rounds)
