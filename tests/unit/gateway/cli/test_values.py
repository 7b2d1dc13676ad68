from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct, field

from gateway.cli import values
from gateway.cli.exits import Exit, Stop


class Inner(Struct):
    a: int


class Params(Struct):
    target: str
    count: Annotated[int, Meta(ge=1)] = 5
    ratio: float = 0.5
    fast: bool = False
    family: Literal["auto", "4", "6"] = "auto"
    level: Literal[1, 2] = 1
    limit: int | None = None
    ports: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    inner: Inner | None = None
    either: int | str = 0


SCHEMA = msgspec.json.schema(Params)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("target=192.0.2.1", "192.0.2.1"),
        ("target=123", "123"),
        ("target=true", "true"),
        ("target=a=b", "a=b"),
        ("count=3", 3),
        ("count=-1", -1),
        ("ratio=0.25", 0.25),
        ("ratio=2", 2),
        ("fast=true", True),
        ("fast=no", False),
        ("family=4", "4"),
        ("level=2", 2),
        ("limit=null", None),
        ("limit=7", 7),
        ("ports=80,443", [80, 443]),
        ("ports=[80]", [80]),
        ("ports=80", [80]),
        ("names=a, b", ["a", "b"]),
        ('inner={"a": 1}', {"a": 1}),
        ("either=5", 5),
        ("either=five", "five"),
    ],
)
def test_a_word_gets_the_type_its_schema_asks_for(word: str, expected: object) -> None:
    found = values.typed(values.pairs([word]), SCHEMA)
    ((_, value),) = found.items()
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("word", ["count=three", "fast=perhaps", "family=5", "inner=[1]", "ratio=fast"])
def test_what_does_not_fit_stays_as_written_so_that_the_network_says_what_is_wrong(word: str) -> None:
    name, _, text = word.partition("=")
    assert values.typed({name: text}, SCHEMA) == {name: text}


def test_an_unknown_parameter_is_sent_as_the_json_it_looks_like() -> None:
    assert values.typed({"colour": "3", "shape": "round"}, SCHEMA) == {"colour": 3, "shape": "round"}


@pytest.mark.parametrize("schema", [{}, {"$ref": "#/$defs/Loop", "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}}])
def test_a_schema_that_says_nothing_is_survived(schema: dict[str, Any]) -> None:
    assert values.typed({"a": "1"}, schema) == {"a": 1}


@pytest.mark.parametrize("words", [["count"], ["=3"], ["count=1", "count=2"]])
def test_words_that_are_no_parameters_are_refused(words: list[str]) -> None:
    with pytest.raises(Stop) as stopped:
        values.pairs(words)
    assert stopped.value.code is Exit.BAD_INPUT


@pytest.mark.parametrize("text", ["[1]", "{", "nothing"])
def test_params_must_be_a_json_object(text: str) -> None:
    with pytest.raises(Stop, match="--params must be a JSON object"):
        values.parameters(text)
