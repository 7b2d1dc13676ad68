"""The guard in front of every route: reads the bearer token and asks the table of rights."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from contracts.errors import Refused
from gateway.security.roles import RIGHTS, Role
from gateway.security.tokens import Claims, Tokens

Connection = ASGIConnection[Any, Any, Any, Any]


def needed(method: str, path: str) -> Role | None:
    """The least role for a route; None when it is open. Raises Refused for one that nobody listed."""
    try:
        return RIGHTS[method, path.rstrip("/") or "/"]
    except KeyError:
        raise Refused(403, "forbidden", "nobody may use this route") from None


def bearer(header: str | None) -> str:
    """The token in an Authorization header. Raises Refused (401)."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused(
            401, "not-authenticated", "send an access token in the header Authorization, by the scheme Bearer"
        )
    return token.strip()


def basic(header: str | None) -> tuple[str, str]:
    """The name and password in an Authorization header (RFC 7617). Raises Refused (401)."""
    scheme, _, encoded = (header or "").partition(" ")
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name, colon, password = "", "", ""
    if scheme.lower() != "basic" or not colon:
        raise Refused(
            401, "not-authenticated", "send name and password in the header Authorization, by the scheme Basic"
        )
    return name, password


def permit(claims: Claims, role: Role) -> None:
    """Raise Refused (403) when the bearer's role does not cover the one needed."""
    if not claims.role.covers(role):
        raise Refused(403, "forbidden", f"this needs the role {role}, and {claims.sub} is {claims.role}")


class Guard:
    """Litestar calls it before the body of a request is read.

    `role` knows the role of a token's bearer as this gateway last heard of it, None when the user or
    the login is over, so that a change takes effect with the next request and not when the token
    expires. A socket of the feed is judged when it opens, and `again` whenever something has changed.
    """

    def __init__(self, tokens: Tokens, role: Callable[[Claims], Role | None]) -> None:
        self._tokens = tokens
        self._role = role

    def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        scope: Any = connection.scope
        # A socket may bring its token in the first message, so the feed itself checks.
        if scope["type"] == "websocket" or scope["method"] == "OPTIONS":
            return
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        role = needed(method, scope["path_template"])
        if role is not None:
            # Known before it is judged: a refusal, too, has somebody's name.
            scope["auth"] = self.known(self._tokens.read(bearer(connection.headers.get("authorization"))))
            permit(scope["auth"], role)

    def admit(self, token: str, role: Role) -> Claims:
        """Who bears this token, if it is valid and the bearer may act in `role`. Raises Refused (401, 403)."""
        return self.again(self._tokens.read(token), role)

    def again(self, claims: Claims, role: Role) -> Claims:
        """Judge anew, by the bearer's role of this moment, who was admitted. Raises Refused (401, 403)."""
        claims = self.known(claims)
        permit(claims, role)
        return claims

    def known(self, claims: Claims) -> Claims:
        """The bearer in the role of this moment. Raises Refused (401) when user or login is over."""
        current = self._role(claims)
        if current is None:
            raise Refused(401, "token-invalid", "the login of this access token has ended; log in again")
        return msgspec.structs.replace(claims, role=current)
