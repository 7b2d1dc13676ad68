"""What follows an answer to a call, or the lack of one. Pure decisions, no effects.

A measured failure is a success here. 429 is pressure and costs no attempt, a worker that never
saw the call neither. Only faults count, and after the last attempt the job gets a result
that says why.
"""

from __future__ import annotations

from dataclasses import dataclass

from anchor.calls import NotListening, ReplyLost, WorkerLost
from contracts.errors import MmnError, Refused
from contracts.failure import Code, Failure, failed

MAX_ATTEMPTS = 3
PRESSURE_S = 0.05


@dataclass(frozen=True, slots=True)
class Reroute:
    """Ask again without counting an attempt: nothing is known to be wrong with the job.

    `press_s`: leave the instance alone that long; `gone`: it does not exist any more;
    `same`: ask the same instance if it is still there.
    """

    reason: str
    press_s: float = 0.0
    gone: bool = False
    same: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Try another instance: this one may have run the job and failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """No further attempt: the job ends with this failure."""

    failure: Failure


Decision = Reroute | Retry | Close


def after(error: MmnError, *, attempt: int, other_nodes: bool) -> Decision:
    """Decide what follows a call that stored no result.

    `attempt` counts calls that reached a worker, this one included; `other_nodes`: whether a
    node that has not tried yet could.
    """
    if isinstance(error, NotListening):
        return Reroute("worker does not listen", gone=True)
    if isinstance(error, ReplyLost):
        # The worker may still be at it: asked again, it joins the running job instead of starting another.
        return Reroute(str(error), same=True)
    if isinstance(error, WorkerLost):
        return _again(Code.WORKER_LOST, str(error), attempt)
    if not isinstance(error, Refused):
        return _again(Code.WORKER_FAULT, str(error), attempt)
    if error.code in {429, 503}:
        return Reroute(error.reason, press_s=error.retry_after or PRESSURE_S)
    if error.code == 424:
        if other_nodes and attempt < MAX_ATTEMPTS:
            return Retry(error.message)
        code = Code(error.reason) if error.reason in set(Code) else Code.CANNOT_MEASURE
        return Close(failed(code, error.message))
    if error.code in {400, 413, 415}:
        return Close(failed(Code.BAD_PARAMS, error.message))
    if error.code == 408:
        return Close(failed(Code.EXPIRED, error.message))
    return _again(Code.WORKER_FAULT, error.message, attempt)


def _again(code: Code, detail: str, attempt: int) -> Decision:
    if attempt >= MAX_ATTEMPTS:
        return Close(failed(code, f"{detail} (attempt {attempt} of {MAX_ATTEMPTS})"))
    return Retry(detail)
