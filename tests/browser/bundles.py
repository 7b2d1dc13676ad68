"""A bundle for the page: it tells of its steps, and its parameters are of every kind that a form knows."""

from tests.kit.wheels import build_wheel

CODE = """
from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from runtime.sdk import Context, Meta, Params, Report


class StepParams(Params, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=20, description="what to call it")]
    steps: Annotated[int, Meta(ge=1, le=50, description="steps to take")] = 4
    pause_s: Annotated[float, Meta(ge=0, le=2)] = 0.4
    mode: Literal["plain", "fancy"] = "plain"
    loud: bool = False
    words: list[str] = []
    note: str | None = None


class StepReport(Report, frozen=True):
    name: str
    steps: int
    mode: str
    loud: bool
    words: list[str]
    note: str | None


async def measure(params: StepParams, ctx: Context) -> StepReport:
    for step in range(params.steps):
        ctx.progress({"kind": "step", "number": step})
        await asyncio.sleep(params.pause_s)
    return StepReport(
        name=params.name,
        steps=params.steps,
        mode=params.mode,
        loud=params.loud,
        words=params.words,
        note=params.note,
    )
"""

MANIFEST = """
summary = "Take some steps and tell of each."
[self_test]
name = "self"
steps = 1
pause_s = 0.0
"""


def steps_wheel(name: str, version: str = "1.0.0") -> bytes:
    """The wheel of the bundle under a name of the test's own, since all tests share one network."""
    return build_wheel(name, version, code=CODE, manifest=MANIFEST)
