import pytest
from litestar.exceptions import MethodNotAllowedException, NotFoundException, ValidationException

from contracts.errors import InvalidField, MmnError, Refused, Unavailable
from gateway.errors import PROBLEM, problem, response


@pytest.mark.parametrize(
    ("error", "status", "reason", "field"),
    [
        (InvalidField("params.count", "must be positive"), 400, "invalid-field", "params.count"),
        (InvalidField("bundle", "no", code=413, reason="too-large"), 413, "too-large", "bundle"),
        (Refused(409, "version-exists", "no"), 409, "version-exists", None),
        (Refused(429, "queue-full", "no", retry_after=2.5), 429, "queue-full", None),
        (Refused(299, "odd", "no"), 500, "odd", None),
        (Unavailable("no Anchor"), 503, "unavailable", None),
        (MmnError("odd"), 500, "internal", None),
        (KeyError("secret"), 500, "internal", None),
        (NotFoundException(), 404, "not-found", None),
        (MethodNotAllowedException(), 405, "method-not-allowed", None),
        (ValidationException(extra=[{"message": "Expected `int`", "key": "limit"}]), 400, "invalid-field", "limit"),
        (
            ValidationException(extra=[{"message": "Object contains unknown field `x`", "key": "data"}]),
            400,
            "unknown-field",
            "x",
        ),
        (ValidationException("odd"), 400, "invalid-field", "body"),
    ],
    ids=range(13),
)
def test_every_error_becomes_a_problem(error: Exception, status: int, reason: str, field: str | None) -> None:
    told = problem(error)
    assert (told.status, told.reason, told.field) == (status, reason, field)
    assert "secret" not in told.detail


def test_pressure_says_when_to_come_back() -> None:
    busy = response(problem(Refused(429, "queue-full", "no", retry_after=2.5)))
    assert busy.headers["Retry-After"] == "3"
    assert busy.media_type == PROBLEM
    assert response(problem(Unavailable("x"))).headers["Retry-After"] == "1"
    assert "Retry-After" not in response(problem(KeyError())).headers


def test_who_is_not_known_is_told_how_to_be() -> None:
    assert response(problem(Refused(401, "token-expired", "x"))).headers["WWW-Authenticate"] == 'Bearer realm="mmn"'
