"""Access tokens: JWTs (RFC 7519) signed with HS256, short-lived, kept by nobody but their bearer."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import jwt
import msgspec
from msgspec import Struct

from contracts import clock
from contracts.errors import MmnError, Refused
from gateway.security.roles import Role

ISSUER = "mmn-gateway"
_ALGORITHM = "HS256"
_KEY_BYTES = 32
_REQUIRED = ("sub", "role", "iat", "exp", "jti", "iss", "epoch", "sid")


class Claims(Struct, frozen=True, kw_only=True):
    """Who bears a token, in which role, until which second since 1970.

    `epoch` is the user's at that time, `sid` the login the token belongs to: either may be cut.
    """

    sub: str
    role: Role
    iat: int
    exp: int
    jti: str
    epoch: str
    sid: str

    @property
    def seconds_left(self) -> float:
        return self.exp - clock.wall_ns() / 1e9


class Tokens:
    """Makes and reads access tokens with one key."""

    def __init__(self, key: bytes, *, lifetime_s: int) -> None:
        self.key = key
        self.lifetime_s = lifetime_s

    def issue(self, user: str, role: Role, *, epoch: str, sid: str) -> str:
        """A token for this user, valid from now for `lifetime_s`, unless user or login end before."""
        now = clock.wall_ns() // 1_000_000_000
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": user,
            "role": role.value,
            "iat": now,
            "exp": now + self.lifetime_s,
            "jti": secrets.token_hex(12),
            "epoch": epoch,
            "sid": sid,
        }
        return jwt.encode(claims, self.key, algorithm=_ALGORITHM)

    def read(self, token: str) -> Claims:
        """Check a token. Raises Refused (401), `token-expired` or `token-invalid`."""
        try:
            found = jwt.decode(
                token, self.key, algorithms=[_ALGORITHM], issuer=ISSUER, options={"require": list(_REQUIRED)}
            )
            return msgspec.convert(found, Claims)
        except jwt.ExpiredSignatureError as error:
            raise Refused(401, "token-expired", "the access token has expired; get a new one") from error
        except (jwt.InvalidTokenError, msgspec.ValidationError) as error:
            raise Refused(401, "token-invalid", "the access token is not valid; get a new one") from error


def token_key(path: Path) -> bytes:
    """Read the signing key, or make it, readable by its owner only. Raises MmnError."""
    if not path.exists():
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES))
        # Of several gateways that share the file and start at once, the first to link wins.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(partial)
        partial.unlink()
    try:
        key = bytes.fromhex(path.read_text())
    except ValueError:
        key = b""
    if len(key) < _KEY_BYTES:
        raise MmnError(f"{path} holds no key of {_KEY_BYTES} bytes; delete it to have one made")
    return key
