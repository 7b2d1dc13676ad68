"""Who did what: one entry for each act of a person at a gateway, and for each refusal."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["change", "job", "login", "refused"]
"""`change`: of functions, nodes, users. `job`: submitted or cancelled. `login`: begun or ended. `refused`: not let do it."""


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One act. `status` is the HTTP status it was answered with, `reason` the word of a refusal or an error.

    `user` is None when nobody who is known asked. `action` is the operation's name in the OpenAPI document, `object`
    what it was about: a function, a node, a job, a user, a topic. `address` is where the request came from.
    `left_out`: refusals before this one that were too many to keep.
    """

    at: str
    gateway: str
    kind: Kind
    action: str
    status: int
    user: str | None = None
    role: str | None = None
    object: str = ""
    detail: str = ""
    reason: str = ""
    address: str | None = None
    left_out: int = 0
    v: Literal[1] = 1
