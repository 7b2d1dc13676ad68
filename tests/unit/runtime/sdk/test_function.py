from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import jsonschema
import pytest

from runtime.sdk import Context, Function, InvalidField, InvalidFunction, Measured, Meta, Params, Report, load_entry
from runtime.sdk.testing import Bench


class Hop(Report, frozen=True):
    number: int
    next: Optional[Hop] = None  # noqa: UP045 - both spellings of a union must work


class ProbeParams(Params, frozen=True):
    """What to probe."""

    target: Annotated[str, Meta(min_length=1, description="whom")]
    count: Annotated[int, Meta(ge=1, le=10)] = 5
    hops: list[Hop] = []  # noqa: RUF012 - msgspec copies it


class ProbeReport(Report, frozen=True):
    hops: list[Hop]


async def plain(params: ProbeParams, _ctx: Context) -> ProbeReport:
    return ProbeReport(hops=params.hops)


async def wrapped(params: ProbeParams, _ctx: Context) -> Measured[ProbeReport]:
    return Measured(data=ProbeReport(hops=params.hops), target=params.target)


async def either(params: ProbeParams, _ctx: Context) -> ProbeReport | Measured[ProbeReport]:
    return ProbeReport(hops=params.hops)


@pytest.mark.parametrize("measure", [plain, wrapped, either])
async def test_every_allowed_signature_is_read_and_called(measure: Any) -> None:
    function = Function.load(measure)
    assert (function.params_type, function.result_type) == (ProbeParams, ProbeReport)
    measured = await Bench().run(function, {"target": "a", "hops": [{"number": 1}]})
    assert measured.data == ProbeReport(hops=[Hop(number=1)])


def test_schemas_stand_alone_and_judge_as_the_types_do() -> None:
    function = Function.load(plain)
    validator = jsonschema.Draft202012Validator(function.params_schema)
    validator.check_schema(function.params_schema)
    assert function.params_schema["type"] == "object"
    assert list(function.params_schema["$defs"]) == ["Hop"]
    assert validator.is_valid({"target": "a", "hops": [{"number": 1, "next": {"number": 2}}]})
    for wrong in ({}, {"target": ""}, {"target": "a", "count": 11}, {"target": "a", "other": 1}):
        assert not validator.is_valid(wrong)
        with pytest.raises(InvalidField):
            function.decode(wrong)


def test_a_type_that_contains_itself_stays_in_its_own_schema() -> None:
    async def recursive(_params: Hop, _ctx: Context) -> ProbeReport:
        return ProbeReport(hops=[])

    schema = Function.load(recursive).params_schema
    jsonschema.Draft202012Validator(schema).validate({"number": 1, "next": {"number": 2, "next": None}})


@pytest.mark.parametrize(
    ("params", "field", "rule"),
    [
        ({}, "params.target", "is required"),
        ({"target": 1}, "params.target", "Expected `str`, got `int`"),
        ({"target": "a", "count": 0}, "params.count", "Expected `int` >= 1"),
        ({"target": "a", "cuont": 1}, "params.cuont", "is not a parameter of this function"),
        ({"target": "a", "hops": [{"number": "x"}]}, "params.hops[0].number", "Expected `int`, got `str`"),
        ({"target": "a", "hops": [{}]}, "params.hops[0].number", "is required"),
    ],
)
def test_wrong_parameters_are_refused_by_path_and_rule(params: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(InvalidField) as refused:
        Function.load(plain).decode(params)
    assert (refused.value.field, refused.value.rule) == (field, rule)


def test_encoding_fills_in_the_defaults() -> None:
    function = Function.load(plain)
    assert function.encode(function.decode({"target": "a"})) == {"target": "a", "count": 5, "hops": []}


def blocking(params: ProbeParams, _ctx: Context) -> ProbeReport:
    return ProbeReport(hops=params.hops)


async def lonely(params: ProbeParams) -> ProbeReport:
    return ProbeReport(hops=params.hops)


async def untyped(params, ctx):  # type: ignore[no-untyped-def]  # noqa: ANN001
    return params, ctx


async def no_result(_params: ProbeParams, _ctx: Context) -> None:
    return None


async def two_reports(params: ProbeParams, _ctx: Context) -> ProbeReport | Hop:
    return ProbeReport(hops=params.hops)


async def forgotten(_params: Missing, _ctx: Context) -> ProbeReport:  # type: ignore[name-defined]  # noqa: F821
    return ProbeReport(hops=[])


@pytest.mark.parametrize(
    ("measure", "rule"),
    [
        (blocking, "async def"),
        (lonely, "exactly two parameters"),
        (untyped, "subclass of Params"),
        (no_result, "return a Report"),
        (two_reports, "return a Report"),
        (forgotten, "Missing is not defined"),
    ],
)
def test_what_is_no_function_is_refused_with_the_rule(measure: Any, rule: str) -> None:
    with pytest.raises(InvalidFunction, match=rule):
        Function.load(measure)


async def test_returning_something_undeclared_is_a_fault_of_the_function() -> None:
    async def liar(_params: ProbeParams, _ctx: Context) -> ProbeReport:
        return Hop(number=1)  # type: ignore[return-value]

    with pytest.raises(InvalidFunction, match="returned Hop, but declares ProbeReport"):
        await Bench().run(liar, {"target": "a"})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mmn_made_up").mkdir()
    (tmp_path / "mmn_made_up" / "__init__.py").write_text("def measure(): ...\nnumber = 1\n")
    yield tmp_path
    sys.modules.pop("mmn_made_up", None)


def test_an_entry_point_is_imported_from_its_folder(package: Path) -> None:
    assert load_entry("mmn_made_up:measure", package).__name__ == "measure"


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("mmn_made_up", "must look like"),
        ("mmn_missing:measure", "No module named"),
        ("mmn_made_up:nothing", "has no function nothing"),
        ("mmn_made_up:number", "has no function number"),
        ("json:loads", "another package of that name"),
    ],
)
def test_a_wrong_entry_point_is_refused_with_the_rule(package: Path, entry: str, rule: str) -> None:
    with pytest.raises(InvalidFunction, match=rule):
        load_entry(entry, package)
