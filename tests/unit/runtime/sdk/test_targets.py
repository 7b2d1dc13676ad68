from typing import Annotated, Any

import pytest

from contracts.targets import Kind, fields, read
from runtime.sdk import Context, Measured, Meta, Params, Report, as_target
from runtime.sdk.folder import BundleFolder
from runtime.sdk.function import Function
from tests.kit.wheels import FUNCTIONS


class Found(Report, frozen=True):
    """Nothing."""


class Asked(Params, frozen=True):
    """Three ways to name a target, and one that is none."""

    where: Annotated[str, Meta(max_length=9, extra_json_schema=as_target("url"))]
    by: Annotated[str, Meta(extra_json_schema=as_target("server", besides=["own"]))] | None = None
    target: str = "192.0.2.1"
    name: str = "x"


async def measure(params: Asked, _ctx: Context) -> Measured[Found]:
    return Measured(target=params.where)


def test_what_an_author_marks_is_in_the_schema_that_the_network_reads() -> None:
    marked = fields(Function.load(measure).params_schema)
    found: list[tuple[str, Kind]] = [(field.name, field.kind) for field in marked]
    assert found == [("where", "url"), ("by", "server"), ("target", "host")]
    given = {"where": "http://a.example/", "by": "own", "name": "b.example"}
    assert [target.host for target in read(marked, given)] == ["a.example", "192.0.2.1"]


@pytest.mark.parametrize(
    ("function", "params", "hosts"),
    [
        ("latency-ping", {"target": "2001:DB8::1"}, ["2001:db8::1"]),
        ("dns-lookup", {"name": "example.com", "server": "192.0.2.53"}, ["192.0.2.53"]),
        ("dns-lookup", {"name": "example.com"}, []),
        ("http-probe", {"url": "https://example.com/", "address": "192.0.2.1"}, ["example.com", "192.0.2.1"]),
        ("echo", {"text": "192.0.2.1"}, []),
    ],
    ids=str,
)
def test_the_functions_that_ship_name_whom_they_measure(
    function: str, params: dict[str, Any], hosts: list[str]
) -> None:
    schema = BundleFolder.read(FUNCTIONS / function).load().params_schema
    assert [target.host for target in read(fields(schema), params)] == hosts
