from __future__ import annotations

import pytest

from contracts.failure import Code, failed
from gateway.cli import exits
from gateway.cli.exits import Exit


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Exit.BAD_INPUT),
        (404, Exit.BAD_INPUT),
        (409, Exit.BAD_INPUT),
        (413, Exit.BAD_INPUT),
        (401, Exit.NOT_ALLOWED),
        (403, Exit.NOT_ALLOWED),
        (429, Exit.UNAVAILABLE),
        (500, Exit.UNAVAILABLE),
        (503, Exit.UNAVAILABLE),
    ],
)
def test_an_http_status_has_one_exit_code(status: int, code: Exit) -> None:
    assert exits.for_status(status) is code


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Code.TIMEOUT, Exit.OK),
        (Code.NAME_NOT_FOUND, Exit.OK),
        (Code.BREAKER_OPEN, Exit.OK),
        (Code.NO_PRIVILEGE, Exit.NOT_MEASURED),
        (Code.WORKER_LOST, Exit.NOT_MEASURED),
        (Code.EXPIRED, Exit.NOT_MEASURED),
        (Code.CANCELLED, Exit.NOT_MEASURED),
        (Code.TARGET_DENIED, Exit.BAD_INPUT),
        (Code.BAD_PARAMS, Exit.BAD_INPUT),
    ],
)
def test_a_result_ends_well_unless_node_network_or_request_failed(failure: Code, code: Exit) -> None:
    told = failed(failure)
    assert exits.for_result({"failure": {"code": told.code, "blame": told.blame}}) is code


def test_a_result_without_failure_ends_well() -> None:
    assert exits.for_result({"failure": None, "data": {}}) is Exit.OK


def test_a_problem_keeps_the_gateways_words() -> None:
    told = {"title": "Bad Request", "status": 400, "detail": "params.count: must be at least 1", "reason": "x"}
    stop = exits.of_problem(400, told)
    assert stop.detail == "params.count: must be at least 1"
    assert stop.problem == told


def test_the_first_cause_of_a_nested_group_is_found() -> None:
    cause = ValueError("first")
    assert exits.sole(ExceptionGroup("a", [ExceptionGroup("b", [cause]), OSError()])) is cause


def test_the_help_tells_every_exit_code() -> None:
    for code in (Exit.OK, Exit.BAD_INPUT, Exit.NOT_ALLOWED, Exit.UNAVAILABLE, Exit.NOT_MEASURED):
        assert f"\n  {code.value}  " in exits.HELP
