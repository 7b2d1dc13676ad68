"""Give back a text after a delay. Measures nothing but the measurement network itself."""

from __future__ import annotations

import asyncio
from typing import Annotated

from runtime.sdk import Context, Meta, Params, Report, monotonic_ns


class EchoParams(Params, frozen=True):
    """What to say, and how long to take about it."""

    text: Annotated[str, Meta(max_length=65536, description="text to give back")] = "hello"
    delay_ms: Annotated[int, Meta(ge=0, le=60_000, description="milliseconds to wait first")] = 0


class EchoReport(Report, frozen=True):
    """The text, and how long the wait really took."""

    text: str
    waited_ns: int


async def measure(params: EchoParams, ctx: Context) -> EchoReport:
    """Wait, then answer."""
    started = monotonic_ns()
    ctx.progress({"kind": "waiting", "delay_ms": params.delay_ms})
    await asyncio.sleep(params.delay_ms / 1000)
    return EchoReport(text=params.text, waited_ns=monotonic_ns() - started)
