"""Settings from the environment: one frozen Struct per service, and no surprise.

A field `nats_url` of the Anchor is read from `MMN_ANCHOR_NATS_URL`, else from the shared
`MMN_NATS_URL`. A variable that starts with the service's prefix but names no field stops the
start and says which fields there are, so a misspelt setting is never silently ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from contracts.errors import MmnError

S = TypeVar("S", bound=Struct)
_COLLECTIONS = ("{", "[")


class BadSetting(MmnError):
    """A setting is unknown, missing or of the wrong form. The message names the variable."""


def _decoded(kind: Any, value: Any) -> Any:
    if kind is Path:
        return Path(value).expanduser()
    raise NotImplementedError


def _value(variable: str, text: str) -> Any:
    """Lists and maps are written as JSON; everything else is text that msgspec reads by type."""
    if not text.startswith(_COLLECTIONS):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadSetting(f"{variable} is not valid JSON: {error}") from error


def load(kind: type[S], service: str, env: Mapping[str, str]) -> S:
    """Read the settings of one service. Raises BadSetting."""
    prefix = f"MMN_{service.upper()}_"
    names = {field.name: field.required for field in msgspec.structs.fields(kind)}
    for variable in env:
        if variable.startswith(prefix) and variable.removeprefix(prefix).lower() not in names:
            known = ", ".join(prefix + name.upper() for name in names)
            raise BadSetting(f"{variable} is not a setting of {service}; there are: {known}")
    values: dict[str, Any] = {}
    for name, required in names.items():
        own, shared = prefix + name.upper(), "MMN_" + name.upper()
        if own in env or shared in env:
            variable = own if own in env else shared
            values[name] = _value(variable, env[variable])
        elif required:
            raise BadSetting(f"{own} (or {shared}) must be set")
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{prefix}*: {error}") from error
