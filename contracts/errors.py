"""Exceptions that services share.

    MmnError
    ├── Refused            the caller's request breaks a rule; carries a code like HTTP's
    │   └── InvalidField   one field of the input is wrong; names the field and the rule
    ├── Unavailable        a service that is needed does not answer; try again later
    └── CannotMeasure      a function could not run at all, so there is no measurement to keep

Every error says in one sentence what to do next. `Refused` is what crosses the wire, as
the micro headers `Nats-Service-Error` and `Nats-Service-Error-Code` (ADR-32).
"""

from __future__ import annotations

from contracts.failure import Code


class MmnError(Exception):
    """Root of every error that is meant to be read by a person."""


class Refused(MmnError):
    """A request that was understood and turned down.

    `code` is an HTTP status number (400, 404, 409, 413, 429, 503); `reason` a stable word for
    programs; `retry_after` seconds for 429 and 503, else None.
    """

    def __init__(self, code: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class InvalidField(Refused):
    """One field breaks a rule. `field` is its path in the input, such as `params.count`."""

    def __init__(self, field: str, rule: str, *, code: int = 400, reason: str = "invalid-field") -> None:
        super().__init__(code, reason, f"{field}: {rule}")
        self.field = field
        self.rule = rule


class Unavailable(MmnError):
    """A service that is needed did not answer in time."""


class CannotMeasure(MmnError):
    """The function could not run at all here. The Anchor may try another node."""

    def __init__(self, message: str, *, code: Code = Code.CANNOT_MEASURE) -> None:
        super().__init__(message)
        self.code = code
