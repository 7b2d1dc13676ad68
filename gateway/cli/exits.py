"""How a command ends: the exit codes, and the errors that lead to them.

| code | meaning |
|---|---|
| 0 | done; a target that did not answer is a measurement, so that is 0 too |
| 2 | the command line or the request is wrong |
| 3 | not logged in, or not allowed |
| 4 | the gateway, or something behind it, does not answer, or not in time |
| 5 | no measurement: a job failed on the node or in the network, or no node could start a function; a scenario does not hold |
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from contracts.errors import MmnError
from contracts.failure import Blame, Code


class Exit(IntEnum):
    """Exit codes of `mmn`."""

    OK = 0
    BAD_INPUT = 2
    NOT_ALLOWED = 3
    UNAVAILABLE = 4
    NOT_MEASURED = 5
    INTERRUPTED = 130


HELP = """\
\b
Exit codes:
  0  done; a target that does not answer is a measurement, so that is 0 too
  2  wrong input: the command line or the request
  3  not logged in, or not allowed
  4  no gateway, overloaded, or too late
  5  no measurement: a job failed on its node, or no node could start a function; a scenario does not hold
"""


class Stop(MmnError):
    """End the command with this exit code and tell why, as a problem after RFC 9457."""

    def __init__(self, code: Exit, title: str, detail: str = "", *, problem: dict[str, Any] | None = None) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.code = code
        self.title = title
        self.detail = detail
        self.problem = problem or {"title": title, "detail": detail}


def for_status(status: int) -> Exit:
    """The exit code that an HTTP error status leads to."""
    if status in {401, 403}:
        return Exit.NOT_ALLOWED
    if status == 429 or status >= 500:
        return Exit.UNAVAILABLE
    return Exit.BAD_INPUT


def for_result(result: dict[str, Any]) -> Exit:
    """The exit code that a job's result leads to: only whose fault it is matters."""
    failure = result.get("failure")
    if not failure:
        return Exit.OK
    blame = failure.get("blame")
    if blame in {Blame.NODE, Blame.NETWORK} or failure.get("code") == Code.CANCELLED:
        return Exit.NOT_MEASURED
    # Bad parameters, or a target that policy denies: asking again changes nothing.
    return Exit.BAD_INPUT if blame == Blame.REQUEST else Exit.OK


def of_problem(status: int, problem: dict[str, Any]) -> Stop:
    """The error for a gateway's answer; its own words are kept."""
    title = str(problem.get("title") or f"HTTP {status}")
    detail = str(problem.get("detail") or "")
    return Stop(for_status(status), title, detail, problem={"status": status, **problem})


def sole(error: BaseException) -> BaseException:
    """What a task group's error comes down to: its first cause."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
