"""Every error as problem+json (RFC 9457): what happened, a word for programs, what to do.

`type` stays `about:blank`, so `title` is the status's own phrase and `reason` tells cases apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from msgspec import Struct

from contracts.codec import MISSING_FIELD
from contracts.errors import InvalidField, MmnError, Refused, Unavailable
from contracts.redaction import conceal_text
from gateway.security.audit import note

log = structlog.get_logger(__name__)

PROBLEM = "application/problem+json"
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
_REASONS = {
    400: "invalid-request",
    401: "not-authenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "busy",
    503: "unavailable",
}


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every error. `retry_after` is in seconds, beside the header of that name."""

    title: str
    status: int
    detail: str
    reason: str
    type: str = "about:blank"
    field: str | None = None
    retry_after: float | None = None


def problem(error: Exception) -> Problem:
    """Say what an error means to the caller; nothing of the inside is shown."""
    match error:
        case InvalidField():
            return _problem(error.code, error.message, error.reason, field=error.field)
        case Refused():
            return _problem(error.code, error.message, error.reason, retry_after=error.retry_after)
        case Unavailable():
            return _problem(503, str(error), "unavailable", retry_after=1.0)
        case ValidationException():
            return _invalid(error)
        case RecursionError():
            # Only the JSON decoder goes as deep as its input says.
            return _problem(400, "body: is nested too deeply", "invalid-field", field="body")
        case HTTPException():
            reason = _REASONS.get(error.status_code, "error")
            detail = "this request is not known here" if error.status_code == 404 else error.detail
            return _problem(error.status_code, detail, reason)
        case MmnError():
            return _problem(500, str(error), "internal")
        case _:
            return _problem(500, "internal error; the log of this gateway says more", "internal")


def _problem(
    code: int, detail: str, reason: str, *, field: str | None = None, retry_after: float | None = None
) -> Problem:
    status = HTTPStatus(code) if code in HTTPStatus._value2member_map_ else HTTPStatus.INTERNAL_SERVER_ERROR
    if retry_after is None and status in {429, 503}:
        retry_after = 1.0
    return Problem(
        title=status.phrase,
        status=status.value,
        # It may quote what was sent, or what a worker said.
        detail=conceal_text(detail),
        reason=reason,
        field=None if field is None else conceal_text(field),
        retry_after=retry_after,
    )


def _invalid(error: ValidationException) -> Problem:
    """The first field that breaks a rule, by its name in the input."""
    told: Any = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    rule, name = str(told.get("message", error.detail)), str(told.get("key", "body"))
    if found := _UNKNOWN_FIELD.search(rule):
        above = "" if name == "data" else f"{name}."
        return _problem(400, f"{above}{found[1]}: is not a known field", "unknown-field", field=above + found[1])
    if found := MISSING_FIELD.search(rule):
        field = found[1] if name == "data" else f"{name}.{found[1]}"
        return _problem(400, f"{field}: is required", "invalid-field", field=field)
    name = "body" if name == "data" else name
    return _problem(400, f"{name}: {rule[:1].lower()}{rule[1:]}", "invalid-field", field=name)


def response(told: Problem, headers: Mapping[str, str] | None = None) -> Response[Problem]:
    """The HTTP answer of a problem."""
    found = {name.title(): value for name, value in (headers or {}).items()}
    if told.retry_after is not None:
        # RFC 9110 knows whole seconds only.
        found["Retry-After"] = str(max(1, math.ceil(told.retry_after)))
    if told.status == HTTPStatus.UNAUTHORIZED:
        # Named so that a browser does not pop up its own dialogue over the page's.
        found.setdefault("WWW-Authenticate", 'Bearer realm="mmn"')
    return Response(told, status_code=told.status, headers=found, media_type=PROBLEM)


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Litestar's exception handler: log what is our fault, tell the rest to the caller."""
    told = problem(error)
    note(request, reason=told.reason)
    if told.status >= HTTPStatus.INTERNAL_SERVER_ERROR and told.status != HTTPStatus.SERVICE_UNAVAILABLE:
        log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
    return response(told, error.headers if isinstance(error, HTTPException) else None)
