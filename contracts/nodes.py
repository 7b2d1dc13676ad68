"""What a person may ask of a node, on the control endpoints of its runtime."""

from __future__ import annotations

from msgspec import Struct


class DrainRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take no more work and let the workers finish what they have, or (`on` false) take work again."""

    on: bool = True


class RestartRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replace the workers of one function, or of all when none is named, each by a ready one."""

    function: str | None = None


class NodeReply(Struct, frozen=True, kw_only=True):
    """The node's state after the request was taken: `up` or `draining`, and its workers by function.

    Workers that drain are left out.
    """

    node: str
    state: str
    workers: dict[str, int]
    v: int = 1
