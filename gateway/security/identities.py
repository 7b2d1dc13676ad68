"""What the network keeps of people: users in bucket `users`, their logins in bucket `sessions`."""

from __future__ import annotations

import secrets

from msgspec import Struct

from gateway.security.roles import Role


class User(Struct, frozen=True, kw_only=True):
    """A value in bucket `users`. `password` is an argon2 hash.

    Every token carries the `epoch` of its user. A new epoch cuts all of them at every gateway.
    """

    name: str
    role: Role
    password: str
    created: str
    epoch: str = ""


class Session(Struct, frozen=True, kw_only=True):
    """A value in bucket `sessions`: one login, which lives on from one refresh token to the next.

    `secret` is the SHA-256 of the only refresh token that counts now; times are seconds since the epoch.
    """

    user: str
    epoch: str
    secret: str
    created: int
    expires: int
    ended: bool = False


def new_epoch() -> str:
    """An epoch that no token carries yet; random, so that a user made anew is not the one before."""
    return secrets.token_hex(8)
