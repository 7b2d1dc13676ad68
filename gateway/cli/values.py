"""`k=v` words of a command line as typed values, by the function's own JSON Schema.

Nothing is refused here: what does not fit stays as it was written, so that the network says what is wrong
in the same words as to everybody else. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.cli.exits import Exit, Stop

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_DEPTH = 8


def pairs(words: Iterable[str], *, what: str = "a parameter") -> dict[str, str]:
    """Split `k=v` words. Raises Stop for one that is not."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Stop(Exit.BAD_INPUT, "wrong input", f"{what} is written k=v, not {word!r}")
        if name in found:
            raise Stop(Exit.BAD_INPUT, "wrong input", f"{what} is given twice: {name}")
        found[name] = value
    return found


def typed(words: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Give each value the type that the parameters' schema asks for."""
    root = dict(schema)
    properties: dict[str, Any] = {}
    for part in _alternatives(root, root):
        properties.update(part.get("properties", {}))
    return {name: value(text, properties.get(name, {}), root) for name, text in words.items()}


def parameters(text: str) -> dict[str, Any]:
    """The object given by `--params`. Raises Stop."""
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Stop(Exit.BAD_INPUT, "wrong input", f"--params must be a JSON object: {error}") from error


def value(text: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """One value by its schema: the first of the allowed types that the text can be."""
    parts = list(_alternatives(schema, root))
    for part in parts:
        for choice in [*part.get("enum", []), *([part["const"]] if "const" in part else [])]:
            if choice == text or (not isinstance(choice, str) and _json(text, None) == choice):
                return choice
    kinds = [kind for part in parts for kind in _kinds(part)]
    for kind in ("null", "boolean", "integer", "number", "array", "object"):
        if kind in kinds:
            found, fits = _as(kind, text, parts, root)
            if fits:
                return found
    if kinds or any("enum" in part or "const" in part for part in parts):
        return text
    # No type is asked for, so JSON is taken for what it is.
    return _json(text, text)


def _as(kind: str, text: str, parts: list[Mapping[str, Any]], root: Mapping[str, Any]) -> tuple[Any, bool]:
    """The text as one JSON type, and whether it is one."""
    lower = text.strip().lower()
    if kind == "null":
        return None, lower == "null"
    if kind == "boolean":
        return lower in _TRUE, lower in _TRUE | _FALSE
    if kind == "integer":
        try:
            return int(text), True
        except ValueError:
            return text, False
    if kind == "number":
        found = _json(text, text)
        return found, isinstance(found, int | float) and not isinstance(found, bool)
    found = _json(text, None)
    if kind == "array":
        if isinstance(found, list):
            return found, True
        items: Any = next((part["items"] for part in parts if "items" in part), {})
        return [value(item.strip(), items, root) for item in text.split(",") if item.strip()], True
    return found, isinstance(found, dict)


def _json(text: str, otherwise: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return otherwise


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _alternatives(schema: Any, root: Mapping[str, Any], depth: int = _DEPTH) -> Iterator[Mapping[str, Any]]:
    """The schema with references followed and unions opened."""
    if not isinstance(schema, Mapping) or depth == 0:
        return
    yield schema
    if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#/"):
        found: Any = root
        for step in reference[2:].split("/"):
            found = found.get(step, {}) if isinstance(found, Mapping) else {}
        yield from _alternatives(found, root, depth - 1)
    for union in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(union, []):
            yield from _alternatives(part, root, depth - 1)
