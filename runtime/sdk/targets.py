"""How an author says which parameter names whom the function measures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contracts.targets import KEYWORD, KEYWORD_BESIDES, Kind


def as_target(kind: Kind = "host", *, besides: Iterable[str] = ()) -> dict[str, Any]:
    """Mark a string parameter: `Meta(extra_json_schema=as_target("url"))`.

    `kind` is `host` (a name or an address), `url`, or `server` (a host with or without a port);
    `besides` are values that name no target. The network counts jobs per target, so a function
    that sends packets to whatever a parameter says has to mark it; one called `target` needs no mark.
    """
    words = list(besides)
    return {KEYWORD: kind} | ({KEYWORD_BESIDES: words} if words else {})
