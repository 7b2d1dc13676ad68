"""What a function takes and what it gives back."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct, field

from contracts.failure import Failure
from contracts.results import Quality, Stamps


class Params(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a function's parameters. JSON Schema, CLI flags and web form come from the fields.

    Write `class PingParams(Params, frozen=True)`. Bounds and descriptions go into
    `Annotated[int, Meta(ge=1, description="...")]`.
    """


class Report(Struct, frozen=True, kw_only=True):
    """Base of a function's own data, and of the parts it is made of.

    Write `class PingReport(Report, frozen=True)`. Durations are integers in nanoseconds named `_ns`, ratios lie in 0..1, unknown is None.
    """


R = TypeVar("R", bound=Struct)


class Measured(Struct, Generic[R], frozen=True, kw_only=True):
    """A report together with what the common block of a result should say about it.

    `target` is the target as given, `address` the one that was measured. `metrics` are names
    after the IANA registry (RFC 8911, RFC 8912) whose definitions this measurement kept.
    """

    data: R | None = None
    failure: Failure | None = None
    target: str | None = None
    address: str | None = None
    stamps: Stamps | None = None
    quality: Quality | None = None
    metrics: list[str] = field(default_factory=list)
