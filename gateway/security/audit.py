"""Who did what: every request that changes something, every login and every refusal becomes an entry in stream AUDIT.

An entry is stored before the answer leaves. What cannot be stored is logged instead, and the answer leaves all the same.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
import structlog
from litestar.connection import ASGIConnection
from litestar.types import BeforeMessageSendHookHandler, Message, Scope
from msgspec import Struct

from contracts import clock
from contracts.audit import AuditEntry, Kind
from contracts.errors import Unavailable
from contracts.redaction import conceal
from gateway.security.tokens import Claims

log = structlog.get_logger(__name__)

REFUSALS_A_S = 5
REFUSALS_AT_ONCE = 300
"""More refusals are counted, not kept: of strangers and of users each, so that neither crowds the other out."""
_LONGEST = 256
_NOTE = "mmn.audit"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOGINS = frozenset({"token", "revoke"})
_JOBS = frozenset({"submit", "cancel"})
_OPEN = frozenset({"join_network"})
"""Changes that strangers may ask for: what they ask in vain is rationed, so that it buries nothing."""


class Note(Struct):
    """What a route or an error adds to the entry about its request."""

    user: str | None = None
    object: str = ""
    detail: str = ""
    reason: str = ""


def note(connection: ASGIConnection[Any, Any, Any, Any], **values: str | None) -> None:
    """Add to the entry about this request; never anything secret."""
    scope: Any = connection.scope
    scope[_NOTE] = msgspec.structs.replace(scope.get(_NOTE) or Note(), **values)


def kind_of(action: str, method: str, status: int, reason: str) -> Kind | None:
    """What an answered request is to the audit log; None: nothing to keep."""
    if status in {401, 403} or reason == "too-many-failures" or (action in _OPEN and status >= 400):
        return "refused"
    if method in _READS or action == "refresh":
        return None
    if action in _JOBS:
        # What the Anchor refuses was not done, and under load it is much.
        return "job" if status < 400 else None
    return "login" if action in _LOGINS else "change"


class Sink(Protocol):
    """Where entries go: the network, or a list in a test."""

    async def store_entry(self, entry: AuditEntry) -> None:
        """Keep it. Raises Unavailable."""
        ...


class Allowance:
    """So many at once, and so many a second after that; the rest is counted."""

    def __init__(self) -> None:
        self._left = float(REFUSALS_AT_ONCE)
        self._at_ns = 0
        self._denied = 0

    def take(self, now_ns: int) -> int | None:
        """How many were denied since the last one that passed, or None when this one is denied."""
        if self._at_ns:
            self._left = min(REFUSALS_AT_ONCE, self._left + (now_ns - self._at_ns) / 1e9 * REFUSALS_A_S)
        self._at_ns = now_ns
        if self._left < 1:
            self._denied += 1
            return None
        self._left -= 1
        denied, self._denied = self._denied, 0
        return denied


class Audit:
    """Writes the entries of one gateway."""

    def __init__(self, sink: Sink, gateway: str) -> None:
        self._sink = sink
        self._gateway = gateway
        self._strangers, self._users = Allowance(), Allowance()

    async def record(
        self,
        kind: Kind,
        action: str,
        *,
        status: int,
        told: Note,
        who: Claims | None = None,
        address: str | None = None,
    ) -> None:
        """Keep one act of somebody."""
        user = who.sub if who else told.user
        left_out: int | None = 0
        if kind == "refused":
            left_out = (self._users if user else self._strangers).take(clock.monotonic_ns())
        if left_out is None:
            return
        entry = AuditEntry(
            at=clock.utc_now(),
            gateway=self._gateway,
            kind=kind,
            action=action,
            status=status,
            user=user,
            role=who.role.value if who else None,
            object=_plain(told.object),
            detail=_plain(told.detail),
            reason=told.reason,
            address=address,
            left_out=left_out,
        )
        try:
            await self._sink.store_entry(entry)
        except Unavailable as error:
            log.warning("audit entry not stored", entry=msgspec.to_builtins(entry), reason=str(error))

    def hook(self) -> BeforeMessageSendHookHandler:
        """For the application: looks at every answer before it leaves."""

        async def look(message: Message, scope: Scope) -> None:
            told: Any = scope
            if message["type"] != "http.response.start" or told["type"] != "http":
                return
            handler = told.get("route_handler")
            if handler is None:
                return
            noted: Note = told.get(_NOTE) or Note()
            action, status = str(getattr(handler, "operation_id", None) or ""), int(message["status"])
            kind = kind_of(action, str(told["method"]), status, noted.reason)
            if kind is None:
                return
            if not noted.object:
                noted.object = " ".join(str(value) for value in told.get("path_params", {}).values())
            auth = told.get("auth")
            await self.record(
                kind,
                action,
                status=status,
                told=noted,
                who=auth if isinstance(auth, Claims) else None,
                address=told["client"][0] if told.get("client") else None,
            )

        return look


def _plain(text: str) -> str:
    """One line of bounded length, without credentials that somebody put where a name belongs."""
    return "".join(one if one.isprintable() else "?" for one in str(conceal(text[:_LONGEST])))
