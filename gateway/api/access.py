"""Who belongs to the network: admins invite and revoke, hosts join with the token they were given."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec.structs import replace

from contracts.membership import Invitation, Invite, Join, Members, Membership, Revoke
from gateway.api.auth import MAX_BODY_BYTES
from gateway.errors import Problem
from gateway.parts import Given
from gateway.security.audit import note
from gateway.security.roles import API

Asked = Request[Any, Any, Any]


class AccessController(Controller):
    """Everything here is the authority's to decide; the gateway passes it on, and tells nodes whom the network trusts."""

    path = f"{API}/access"
    tags = ("access",)
    request_max_body_size = MAX_BODY_BYTES

    @get(summary="List members and open invitations", operation_id="list_members")
    async def members(self, parts: Given) -> Members:
        return await parts.network.ask_authority("list", None, Members)

    @post("/invitations", summary="Invite a node or a module", operation_id="invite_member")
    async def invite(self, data: JSONBody[Invite], request: Asked, parts: Given) -> Response[Invitation]:
        note(request, object=f"{data.kind} {data.name}")
        made = await parts.network.ask_authority("invite", data, Invitation)
        return Response(made, headers={"Cache-Control": "no-store"})

    @post(
        "/join",
        summary="Join with the token of an invitation, which is used up by it; needs no login",
        operation_id="join_network",
        status_code=200,
        security=[{}],
        responses={403: ResponseSpec(Problem, description="The token is none"), 409: ResponseSpec(Problem)},
    )
    async def join(self, data: JSONBody[Join], request: Asked, parts: Given) -> Response[Membership]:
        # First what can fail: the token works once.
        listed = {one.key: one.name for one in (await parts.network.authors()).trusted}
        joined = await parts.network.ask_authority("join", data, Membership)
        note(request, object=f"{joined.kind} {joined.name}")
        if joined.kind == "node":
            joined = replace(joined, authors=listed)
        return Response(joined, headers={"Cache-Control": "no-store"})

    @post("/revoke", summary="Cut off a member or a user at once", operation_id="revoke_member", status_code=200)
    async def revoke(self, data: JSONBody[Revoke], request: Asked, parts: Given) -> Members:
        note(request, object=f"{data.kind} {data.name}")
        return await parts.network.ask_authority("revoke", data, Members)
