"""The closed vocabulary of measured failures, and who has to act on each.

A failure is data: it is stored, counted and shown, and for breakers, limits and
canaries it counts as success, since measuring it is what was asked for.
Exceptions (`contracts.errors`) are for jobs that could not be measured at all.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Blame(StrEnum):
    """Who has to act for the next attempt to succeed."""

    REQUEST = "request"
    """The caller: the job asks for something that cannot be had."""
    TARGET = "target"
    """The measured host or the path to it."""
    RESOLVER = "resolver"
    """The name service that was asked."""
    NODE = "node"
    """The vantage point: it lacks a privilege, an address family or a healthy worker."""
    NETWORK = "network"
    """The measurement network itself: no instance, no time left, cancelled."""


class Code(StrEnum):
    """What happened. Values are part of the wire contract: they are added, never renamed."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    RESET = "reset"
    NAME_NOT_FOUND = "name-not-found"
    NAME_TIMEOUT = "name-timeout"
    NAME_FAILURE = "name-failure"
    TLS = "tls"
    PROTOCOL = "protocol"
    TOO_LARGE = "too-large"
    BREAKER_OPEN = "breaker-open"
    TARGET_DENIED = "target-denied"
    BAD_PARAMS = "bad-params"
    NO_PRIVILEGE = "no-privilege"
    NO_ADDRESS_FAMILY = "no-address-family"
    CANNOT_MEASURE = "cannot-measure"
    WORKER_FAULT = "worker-fault"
    WORKER_LOST = "worker-lost"
    RESULT_TOO_LARGE = "result-too-large"
    NO_INSTANCE = "no-instance"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FUNCTION_GONE = "function-gone"


BLAME: dict[Code, Blame] = {
    Code.TIMEOUT: Blame.TARGET,
    Code.UNREACHABLE: Blame.TARGET,
    Code.REFUSED: Blame.TARGET,
    Code.RESET: Blame.TARGET,
    Code.NAME_NOT_FOUND: Blame.RESOLVER,
    Code.NAME_TIMEOUT: Blame.RESOLVER,
    Code.NAME_FAILURE: Blame.RESOLVER,
    Code.TLS: Blame.TARGET,
    Code.PROTOCOL: Blame.TARGET,
    Code.TOO_LARGE: Blame.TARGET,
    Code.BREAKER_OPEN: Blame.TARGET,
    Code.TARGET_DENIED: Blame.REQUEST,
    Code.BAD_PARAMS: Blame.REQUEST,
    Code.NO_PRIVILEGE: Blame.NODE,
    Code.NO_ADDRESS_FAMILY: Blame.NODE,
    Code.CANNOT_MEASURE: Blame.NODE,
    Code.WORKER_FAULT: Blame.NODE,
    Code.WORKER_LOST: Blame.NODE,
    Code.RESULT_TOO_LARGE: Blame.NODE,
    Code.NO_INSTANCE: Blame.NETWORK,
    Code.EXPIRED: Blame.NETWORK,
    Code.CANCELLED: Blame.REQUEST,
    Code.FUNCTION_GONE: Blame.NETWORK,
}


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A negative outcome.

    `stage` names the step that failed in the function's own words (`resolve`, `send`);
    `detail` is one sentence for people, already free of secrets.
    """

    code: Code
    blame: Blame
    stage: str = ""
    detail: str = ""


def failed(code: Code, detail: str = "", *, stage: str = "") -> Failure:
    """Make a failure with the blame that belongs to its code."""
    return Failure(code=code, blame=BLAME[code], stage=stage, detail=detail)
