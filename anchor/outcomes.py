"""What follows an answer to a call, or the lack of one. Pure decisions, no effects.

A measured failure is a success here. 429 is pressure and costs no attempt, a worker that never
saw the call neither. Only faults count, and after the last attempt the job gets a result
that says why. Retries are paid from a budget, and the caller decides whether it holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from anchor.calls import NotListening, ReplyLost, WorkerLost
from contracts.errors import MmnError, Refused
from contracts.failure import Code, Failure, failed
from contracts.jobs import CANCELLED_CODE

MAX_ATTEMPTS = 3
PRESSURE_S = 0.05
MOST_PRESSURE_S = 10.0
"""A worker that asks for longer is asked again all the same."""


@dataclass(frozen=True, slots=True)
class Reroute:
    """Ask again without counting an attempt: nothing is known to be wrong with the job.

    `press_s`: leave the instance alone that long, `full`: for all its slots are taken;
    `gone`: nobody listens there; `same`: ask the same instance if it is still there.
    """

    reason: str
    press_s: float = 0.0
    full: bool = False
    gone: bool = False
    same: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Try another instance: this one may have run the job and failed.

    `failure` is the job's end if no other attempt is affordable; `lost`: the worker is gone, which says
    nothing against the job, so it may wait for its turn but does not fail for want of budget; `free`: its
    version is on trial, so it costs neither an attempt nor any budget.
    """

    reason: str
    failure: Failure
    lost: bool = False
    free: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """No further attempt: the job ends with this failure."""

    failure: Failure


Decision = Reroute | Retry | Close


def is_fault(error: MmnError) -> bool:
    """Whether a call that stored no result speaks against its worker, and feeds its breaker."""
    if isinstance(error, NotListening | ReplyLost):
        return False
    # The job's parameters, its time, the node's abilities, pressure and the storage are not the worker's doing.
    return not (isinstance(error, Refused) and error.code in {400, 408, 413, 415, 424, 429, 503})


def is_cancelled(error: MmnError) -> bool:
    """Whether a worker says that it ended the job because it was cancelled. Only the job's result proves it."""
    return isinstance(error, Refused) and error.code == CANCELLED_CODE


def on_trial(decision: Decision) -> Decision:
    """A version on trial ends no job: what it could not do, the old one tries."""
    match decision:
        case Close(failure):
            return Retry(failure.detail, failure, free=True)
        case Retry(reason, failure):
            return Retry(reason, failure, free=True)
        case Reroute():
            return decision


def once(decision: Decision) -> Decision:
    """A twin is tried once: that it failed is what was to be learned."""
    return Close(decision.failure) if isinstance(decision, Retry) else decision


def unaffordable(decision: Retry) -> Close:
    """How a job ends when the budget of retries is used up."""
    detail = f"{decision.failure.detail}; not tried again: too many jobs failed lately"
    return Close(replace(decision.failure, detail=detail))


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
        press_s = min(MOST_PRESSURE_S, max(PRESSURE_S, error.retry_after or PRESSURE_S))
        return Reroute(error.reason, press_s=press_s, full=error.code == 429)
    if error.code == 424:
        code = Code(error.reason) if error.reason in set(Code) else Code.CANNOT_MEASURE
        failure = failed(code, error.message)
        return Retry(error.message, failure) if other_nodes and attempt < MAX_ATTEMPTS else Close(failure)
    if error.code in {400, 413, 415}:
        return Close(failed(Code.BAD_PARAMS, error.message))
    if error.code == 408:
        return Close(failed(Code.EXPIRED, error.message))
    return _again(Code.WORKER_FAULT, error.message, attempt)


def _again(code: Code, detail: str, attempt: int) -> Decision:
    failure = failed(code, f"{detail} (attempt {attempt} of {MAX_ATTEMPTS})")
    if attempt >= MAX_ATTEMPTS:
        return Close(failure)
    return Retry(detail, failure, lost=code is Code.WORKER_LOST)
