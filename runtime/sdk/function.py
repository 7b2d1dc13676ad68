"""A function as the runtime sees it: types read from the signature, schemas, checked calls."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from contracts.errors import InvalidField, MmnError
from runtime.sdk.context import Context
from runtime.sdk.measured import Measured

_AT = re.compile(r" - at `(?P<path>.+)`$")
_NAMED = re.compile(r"(?P<rule>missing required field|unknown field) `(?P<name>.*)`$")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class InvalidFunction(MmnError):
    """The code is not a measurement function. The message names the rule that it breaks."""


@dataclass(frozen=True, slots=True)
class Function:
    """A loaded function: the coroutine, its types, and their JSON Schemas (2020-12).

    Each schema is one object that needs nothing outside itself.
    """

    measure: Callable[[Any, Context], Awaitable[Any]]
    params_type: type[Struct]
    result_type: type[Struct]
    params_schema: dict[str, Any]
    result_schema: dict[str, Any]

    @classmethod
    def load(cls, measure: Callable[..., Any]) -> Function:
        """Read the signature of `async def measure(params: Params, ctx: Context) -> Report`.

        Raises InvalidFunction naming the rule that the callable breaks.
        """
        name = getattr(measure, "__qualname__", repr(measure))
        if not inspect.iscoroutinefunction(measure):
            raise InvalidFunction(f"{name}: must be `async def`")
        parameters = list(inspect.signature(measure).parameters.values())
        plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if len(parameters) != 2 or any(parameter.kind not in plain for parameter in parameters):
            raise InvalidFunction(f"{name}: must take exactly two parameters, (params, ctx)")
        try:
            hints = typing.get_type_hints(measure)
        except NameError as error:
            rule = "its annotations must exist at run time, so import them outside `if TYPE_CHECKING`"
            raise InvalidFunction(f"{name}: {error.name} is not defined: {rule}") from error
        params_type = hints.get(parameters[0].name)
        if not _is_struct(params_type):
            raise InvalidFunction(f"{name}: the type of `{parameters[0].name}` must be a subclass of Params")
        result_type = _result_type(hints.get("return"))
        if result_type is None:
            raise InvalidFunction(f"{name}: must be annotated to return a Report or Measured[Report]")
        try:
            schemas = (_schema(params_type), _schema(result_type))
        except TypeError as error:
            raise InvalidFunction(f"{name}: no JSON Schema can be made of its types: {error}") from error
        return cls(measure, params_type, result_type, *schemas)

    def decode(self, params: dict[str, Any]) -> Struct:
        """Turn JSON-like parameters into the function's own. Raises InvalidField, as in `params.count: ...`."""
        try:
            return msgspec.convert(params, type=self.params_type)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from error

    def encode(self, params: Struct) -> dict[str, Any]:
        """Turn parameters into JSON-like data, defaults filled in."""
        encoded: dict[str, Any] = msgspec.to_builtins(params)
        return encoded

    async def call(self, params: Struct, ctx: Context) -> Measured[Any]:
        """Run the function once. Raises InvalidFunction if it returns something it did not declare."""
        result = await self.measure(params, ctx)
        if isinstance(result, self.result_type):
            return Measured(data=result)
        if isinstance(result, Measured) and (result.data is None or isinstance(result.data, self.result_type)):
            return result
        returned = type(result.data if isinstance(result, Measured) else result).__name__
        raise InvalidFunction(f"returned {returned}, but declares {self.result_type.__name__}")


def load_entry(entry: str, path: Path | None = None) -> Callable[..., Any]:
    """Import what an entry point such as `latency_ping:measure` names.

    With `path`, a folder that holds the package, the code must come from there.
    Raises InvalidFunction.
    """
    module_name, _, attribute = entry.partition(":")
    if not module_name or not attribute:
        raise InvalidFunction(f"entry point {entry!r}: must look like `package:function`")
    if path is not None and str(path) not in sys.path:
        sys.path.insert(0, str(path))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidFunction(f"entry point {entry!r}: {error}") from error
    source = getattr(module, "__file__", None)
    if path is not None and (source is None or not Path(source).resolve().is_relative_to(path.resolve())):
        raise InvalidFunction(f"entry point {entry!r}: {module_name} is another package of that name, from {source}")
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise InvalidFunction(f"entry point {entry!r}: {module_name} has no function {attribute}")
    return typing.cast("Callable[..., Any]", found)


def _is_struct(hint: Any) -> typing.TypeGuard[type[Struct]]:
    return isinstance(hint, type) and issubclass(hint, Struct)


def _result_type(hint: Any) -> type[Struct] | None:
    """Find the report in `Report`, `Measured[Report]` or a union of the two."""
    options = typing.get_args(hint) if typing.get_origin(hint) in {types.UnionType, typing.Union} else (hint,)
    found = {typing.get_args(option)[0] if typing.get_origin(option) is Measured else option for option in options}
    if len(found) != 1:
        return None
    (only,) = found
    return only if _is_struct(only) and only is not Measured else None


def _schema(kind: type[Struct]) -> dict[str, Any]:
    """Make a JSON Schema whose top level is the object itself, with its parts in `$defs`."""
    (top,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    name = top["$ref"].rpartition("/")[2]
    body = parts[name]
    if top["$ref"] not in _references(parts):
        del parts[name]
    schema: dict[str, Any] = {"$schema": _DIALECT, **body}
    if parts:
        schema["$defs"] = parts
    return schema


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_references(value) for value in node))
    return set()


def _invalid(text: str) -> InvalidField:
    """Turn msgspec's sentence, such as "Expected `int` >= 1 - at `$.count`", into field and rule."""
    field = "params"
    if at := _AT.search(text):
        field += at["path"].removeprefix("$")
        text = text[: at.start()]
    if named := _NAMED.search(text):
        field += f".{named['name'][:64]}"
        text = "is required" if named["rule"].startswith("missing") else "is not a parameter of this function"
    return InvalidField(field, text)
