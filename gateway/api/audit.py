"""Who did what, for admins."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.params import FromQuery, QueryParameter

from contracts.audit import Kind
from gateway.api.jobs import After, Limit, Since, instant
from gateway.ledger import AuditPage, AuditWish
from gateway.parts import Given
from gateway.security.roles import API

Word = Annotated[str | None, QueryParameter(max_length=128)]


class AuditController(Controller):
    """Entries are kept for 90 days; nobody can take one out."""

    path = f"{API}/audit"
    tags = ("users",)

    @get(summary="List who did what, newest first: changes, jobs, logins and refusals", operation_id="audit")
    async def audit(  # each is one option of the query
        self,
        parts: Given,
        user: Word = None,
        action: Annotated[
            str | None, QueryParameter(max_length=128, description="an operation of this document, such as scale")
        ] = None,
        kind: FromQuery[Kind | None] = None,
        since: Since = None,
        after: After = None,
        limit: Limit = 50,
    ) -> AuditPage:
        wish = AuditWish(user=user, action=action, kind=kind, since=instant(since), after=after, limit=limit)
        return await parts.index.audit(wish)
