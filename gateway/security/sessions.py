"""Logins: a short access token for requests, and a refresh token that buys the next pair, once.

A refresh token is `<login>.<secret>`, both random; the network keeps only a hash of the secret. Who
shows a secret that was replaced before ends the login for everybody who holds a part of it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

import msgspec
import structlog
from msgspec import Struct

from contracts import clock, streams
from contracts.errors import Refused
from gateway.network import Network
from gateway.security.identities import Session, User, new_epoch
from gateway.security.roles import Role
from gateway.security.tokens import Claims, Tokens

log = structlog.get_logger(__name__)

PER_USER = 64
"""Logins that one user may have at a time; one more ends the oldest."""
LONGEST_S = streams.SESSION_DAYS * 86400
_REFRESH = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")


class Grant(Struct, frozen=True, kw_only=True):
    """What a login or its renewal gives; times in seconds from now."""

    user: str
    role: Role
    access: str
    access_s: int
    refresh: str
    refresh_s: int


class Sessions:
    """Begins, renews and ends logins. `idle_s`: how long one may rest before it is over."""

    def __init__(self, network: Network, tokens: Tokens, *, idle_s: int) -> None:
        self._network = network
        self._tokens = tokens
        self._idle_s = idle_s

    def role(self, claims: Claims) -> Role | None:
        """The role of a token's bearer at this moment; None when user or login is over."""
        user = self._network.user(claims.sub)
        if user is None or user.epoch != claims.epoch:
            return None
        session = self._network.session(claims.sid)
        # A login that was begun a moment ago at another gateway is not known here yet.
        return None if session is not None and session.ended else user.role

    async def begin(self, user: User) -> Grant:
        """A new login of somebody whose password was right."""
        await self._make_room(user.name)
        key, secret, now = secrets.token_hex(16), secrets.token_urlsafe(32), _now()
        made = Session(
            user=user.name,
            epoch=user.epoch,
            secret=_hash(secret),
            created=now,
            expires=now + min(self._idle_s, LONGEST_S),
        )
        await self._network.change_session(key, lambda _: made)
        return self._grant(user, key, secret, made)

    async def renew(self, refresh: str | None) -> Grant:
        """The next pair for a refresh token. Raises Refused (401)."""
        found = _REFRESH.fullmatch(refresh or "")
        if found is None:
            raise _over("there is no refresh token that could be used; log in")
        key, shown, secret = found[1], _hash(found[2]), secrets.token_urlsafe(32)

        def change(before: Session | None) -> Session:
            now = _now()
            if before is None or before.ended or before.expires <= now:
                raise _over("the login has ended; log in again")
            user = self._network.user(before.user)
            if user is None or user.epoch != before.epoch:
                raise _over("the login has ended; log in again")
            if not hmac.compare_digest(before.secret, shown):
                return msgspec.structs.replace(before, ended=True)
            expires = min(now + self._idle_s, before.created + LONGEST_S)
            return msgspec.structs.replace(before, secret=_hash(secret), expires=expires)

        after = await self._network.change_session(key, change)
        if after.ended:
            log.warning("a refresh token was used twice; the login is ended", user=after.user)
            raise Refused(401, "refresh-reused", "this refresh token was used before; the login is ended, log in again")
        user = self._network.user(after.user)
        if user is None:
            raise _over("the login has ended; log in again")
        return self._grant(user, key, secret, after)

    async def end(self, key: str) -> None:
        """End one login: its tokens are refused from now on, everywhere."""

        def change(before: Session | None) -> Session:
            if before is None:
                raise _over("the login has ended")
            return msgspec.structs.replace(before, ended=True)

        await self._network.change_session(key, change)

    async def end_all(self, name: str) -> None:
        """End every login of a user. Raises Refused (404)."""

        def change(before: User | None) -> User:
            if before is None:
                raise Refused(404, "no-such-user", f"there is no user {name}")
            return msgspec.structs.replace(before, epoch=new_epoch())

        await self._network.change_user(name, change)

    async def _make_room(self, user: str) -> None:
        open_ones = list(self._network.sessions(user))
        for key in open_ones[: max(0, len(open_ones) - PER_USER + 1)]:
            await self.end(key)

    def _grant(self, user: User, key: str, secret: str, session: Session) -> Grant:
        return Grant(
            user=user.name,
            role=user.role,
            access=self._tokens.issue(user.name, user.role, epoch=session.epoch, sid=key),
            access_s=self._tokens.lifetime_s,
            refresh=f"{key}.{secret}",
            refresh_s=session.expires - _now(),
        )


def _hash(secret: str) -> str:
    # Of 256 random bits, so a fast hash does.
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> int:
    return clock.wall_ns() // 1_000_000_000


def _over(why: str) -> Refused:
    return Refused(401, "refresh-invalid", why)
