"""Sleeps for as long as asked, one job at a time, as a long measurement would."""

import asyncio

from runtime.sdk import Context, Params, Report


class NapParams(Params, frozen=True):
    """How long."""

    seconds: float = 0.0


class NapReport(Report, frozen=True):
    """How long it was."""

    seconds: float


async def measure(params: NapParams, ctx: Context) -> NapReport:
    """Sleep."""
    ctx.progress({"kind": "asleep"})
    await asyncio.sleep(params.seconds)
    return NapReport(seconds=params.seconds)
