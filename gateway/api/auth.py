"""Log in, stay logged in, log out."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from litestar import Controller, Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Struct

from contracts import clock
from contracts.errors import Refused
from gateway.errors import Problem
from gateway.parts import Given
from gateway.security.audit import note
from gateway.security.cookies import RefreshCookie
from gateway.security.guard import basic
from gateway.security.identities import User, new_epoch
from gateway.security.roles import API, Role
from gateway.security.sessions import Grant
from gateway.security.tokens import Claims

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 16 * 1024
Anyone = Request[Any, Any, Any]
Asked = Request[Any, Claims, Any]

_WRONG = ResponseSpec(Problem, description="Wrong name or password")
_BUSY = ResponseSpec(Problem, description="Too many failures, by this user or from this address; see Retry-After")
_OVER = ResponseSpec(Problem, description="The refresh token is not valid, or was used before")


class AccessToken(Struct, frozen=True, kw_only=True):
    """Send `access_token` as `Authorization: Bearer`; both times are in seconds from now.

    `refresh_token` buys the next pair at `/auth/refresh`, once; null when it was set as a cookie.
    """

    access_token: str
    expires_in: int
    user: str
    role: Role
    refresh_token: str | None
    refresh_expires_in: int
    token_type: str = "Bearer"  # noqa: S105  # the name of the scheme


class RefreshWish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The refresh token; without one, the cookie counts, if the header `Mmn-Session: cookie` stands beside it."""

    refresh_token: str | None = None


class RevokeWish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which logins to end: this one, or all of the user's, everywhere."""

    everywhere: bool = False


class PasswordWish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The present password, and the one that takes its place."""

    current: str
    new: str


class TokenController(Controller):
    """Name and password in, a short-lived token and the means to renew it out."""

    path = f"{API}/auth"
    tags = ("users",)
    request_max_body_size = MAX_BODY_BYTES

    @post(
        "/token",
        summary="Exchange name and password (HTTP Basic) for an access token and a refresh token",
        operation_id="token",
        status_code=200,
        security=[{"basic": []}],
        responses={401: _WRONG, 429: _BUSY},
    )
    async def token(self, request: Anyone, parts: Given) -> Response[AccessToken]:
        name, password = basic(request.headers.get("authorization"))
        user = await _judge(request, parts, name, password)
        return _answer(request, parts, await parts.sessions.begin(user))

    @post(
        "/refresh",
        summary="Exchange a refresh token, once, for the next access token and refresh token",
        operation_id="refresh",
        status_code=200,
        security=[{}],
        responses={401: _OVER},
    )
    async def refresh(self, data: JSONBody[RefreshWish], request: Anyone, parts: Given) -> Response[AccessToken]:
        shown = data.refresh_token
        if shown is None and RefreshCookie.wanted(request.headers):
            shown = parts.cookie.read(request.cookies)
        return _answer(request, parts, await parts.sessions.renew(shown))

    @post("/revoke", summary="Log out, here or everywhere", operation_id="revoke", status_code=204)
    async def revoke(self, data: JSONBody[RevokeWish], request: Asked, parts: Given) -> Response[None]:
        note(request, detail="everywhere" if data.everywhere else "")
        if data.everywhere:
            await parts.sessions.end_all(request.auth.sub)
        else:
            await parts.sessions.end(request.auth.sid)
        return Response(None, cookies=[parts.cookie.clear()])

    @post(
        "/password",
        summary="Change the own password; every login of this user ends",
        operation_id="own_password",
        status_code=204,
        responses={401: _WRONG, 429: _BUSY},
    )
    async def password(self, data: JSONBody[PasswordWish], request: Asked, parts: Given) -> Response[None]:
        name = request.auth.sub
        judged = await _judge(request, parts, name, data.current)
        hashed = await parts.passwords.hash(name, data.new)

        def change(before: User | None) -> User:
            if before is None or before.password != judged.password:
                raise Refused(409, "conflict", "the password has just been changed by somebody else")
            return msgspec.structs.replace(before, password=hashed, epoch=new_epoch())

        await parts.network.change_user(name, change)
        return Response(None, cookies=[parts.cookie.clear()])


async def _judge(request: Anyone, parts: Given, name: str, password: str) -> User:
    """The user with this password. Raises Refused: 401 after a while, or 429 at once."""
    address = request.client.host if request.client else None
    # Not to be told apart by the caller: an unknown name costs what a known one costs.
    user = parts.network.user(name)
    # Only the name of somebody: what nobody is called may be a password in the wrong field.
    note(request, user=user.name if user else None)
    parts.throttle.admit(name, address, clock.monotonic_ns())
    try:
        right = await parts.passwords.check(user.password if user else None, password)
    except Refused:
        parts.throttle.withdrawn(name, address)
        raise
    if user is None or not right:
        raise Refused(401, "wrong-credentials", "the name or the password is wrong")
    parts.throttle.succeeded(name, address)
    return user


def _answer(request: Anyone, parts: Given, grant: Grant) -> Response[AccessToken]:
    as_cookie = RefreshCookie.wanted(request.headers)
    told = AccessToken(
        access_token=grant.access,
        expires_in=grant.access_s,
        user=grant.user,
        role=grant.role,
        refresh_token=None if as_cookie else grant.refresh,
        refresh_expires_in=grant.refresh_s,
    )
    return Response(told, cookies=[parts.cookie.keep(grant.refresh, grant.refresh_s)] if as_cookie else [])
