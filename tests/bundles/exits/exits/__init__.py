"""Ends its own process, leaves children behind, or eats memory."""

import asyncio
import os
import signal
import subprocess
from typing import Literal

from runtime.sdk import Context, Params, Report


class ExitParams(Params, frozen=True):
    """The way out."""

    how: Literal["code", "signal", "child", "memory", "look"] = "code"
    code: int = 3


class ExitReport(Report, frozen=True, kw_only=True):
    """What the process sees of itself."""

    pid: int
    child: int | None = None
    environment: dict[str, str]
    folder: str


async def measure(params: ExitParams, ctx: Context) -> ExitReport:
    """Go, or look around."""
    ctx.log.info("asked", how=params.how)
    child = None
    match params.how:
        case "code":
            print("going away", flush=True)  # noqa: T201
            os._exit(params.code)
        case "signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "child":
            child = subprocess.Popen(["/bin/sleep", "60"]).pid  # noqa: ASYNC220
        case "memory":
            hoard = [bytearray(8 << 20) for _ in range(20)]
            await asyncio.sleep(4)
            del hoard
        case _:
            pass
    return ExitReport(pid=os.getpid(), child=child, environment=dict(os.environ), folder=str(os.getcwd()))  # noqa: PTH109
