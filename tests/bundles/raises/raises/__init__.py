"""Fails in every way a function can."""

import asyncio
import sys
from typing import Literal

from runtime.sdk import CannotMeasure, Code, Context, InvalidField, Measured, Params, Report, failed


class RaiseParams(Params, frozen=True):
    """The way to fail."""

    how: Literal[
        "value-error",
        "secret",
        "cancelled",
        "timeout-error",
        "cannot-measure",
        "group",
        "system-exit",
        "invalid-field",
        "other-type",
        "sleep",
        "stubborn",
        "large",
        "measured",
        "events",
    ] = "measured"


class RaiseReport(Report, frozen=True):
    """Something, when it did not raise."""

    text: str = ""


class Other(Report, frozen=True):
    """Not what was declared."""


async def measure(params: RaiseParams, ctx: Context) -> Measured[RaiseReport]:  # noqa: C901, PLR0912
    """Fail as asked."""
    match params.how:
        case "value-error":
            raise ValueError("of no use")
        case "secret":
            raise ValueError("could not open https://user:hunter2@example.net/")
        case "cancelled":
            raise asyncio.CancelledError
        case "timeout-error":
            raise TimeoutError("the function's own")
        case "cannot-measure":
            raise CannotMeasure("no privilege here", code=Code.NO_PRIVILEGE)
        case "group":
            raise ExceptionGroup("of a task group", [CannotMeasure("no IPv6", code=Code.NO_ADDRESS_FAMILY)])
        case "system-exit":
            sys.exit(7)
        case "invalid-field":
            raise InvalidField("params.how", "must be something else")
        case "other-type":
            return Measured(data=Other())  # type: ignore[arg-type]  # the mistake under test
        case "sleep":
            await asyncio.sleep(60)
        case "stubborn":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    ctx.log.info("not now")
        case "large":
            return Measured(data=RaiseReport(text="x" * 1_000_000))
        case "events":
            for number in range(500):
                ctx.progress({"number": number})
            ctx.progress({"not for JSON": object()})
        case _:
            return Measured(failure=failed(Code.TIMEOUT, "the target did not answer"), target="192.0.2.1")
    return Measured(data=RaiseReport())
