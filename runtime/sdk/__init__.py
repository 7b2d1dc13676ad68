"""All that the author of a measurement function may import.

A function is one coroutine, named by an entry point in group `mmn.functions`:

    async def measure(params: Params, ctx: Context) -> Report

Return what was measured, also when the target did not answer: that is a result, told by
`failed(Code.TIMEOUT, ...)` in a `Measured`. Raise `CannotMeasure` only if the function could
not run here at all. Nothing in this package knows NATS, so every function runs and is tested alone:

    python -m runtime.sdk run FOLDER '{"target": "127.0.0.1"}'
"""

from __future__ import annotations

from msgspec import Meta

from contracts.clock import ClockQuality, monotonic_ns, rfc3339, wall_ns
from contracts.errors import CannotMeasure, InvalidField
from contracts.failure import Blame, Code, Failure, failed
from contracts.results import Quality, Stamp, Stamps
from runtime.sdk import icmp, kernelstamps
from runtime.sdk.breakers import Breakers, guarded
from runtime.sdk.context import Context, JobContext, Log
from runtime.sdk.function import Function, InvalidFunction, load_entry
from runtime.sdk.icmp import IcmpSocket, IcmpSockets
from runtime.sdk.measured import Measured, Params, Report
from runtime.sdk.names import Resolved, resolve
from runtime.sdk.socketerrors import socket_failure
from runtime.sdk.targets import as_target

__all__ = [
    "Blame",
    "Breakers",
    "CannotMeasure",
    "ClockQuality",
    "Code",
    "Context",
    "Failure",
    "Function",
    "IcmpSocket",
    "IcmpSockets",
    "InvalidField",
    "InvalidFunction",
    "JobContext",
    "Log",
    "Measured",
    "Meta",
    "Params",
    "Quality",
    "Report",
    "Resolved",
    "Stamp",
    "Stamps",
    "as_target",
    "failed",
    "guarded",
    "icmp",
    "kernelstamps",
    "load_entry",
    "monotonic_ns",
    "resolve",
    "rfc3339",
    "socket_failure",
    "wall_ns",
]
