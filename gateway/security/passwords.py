"""Passwords: argon2id, checked off the loop, a few at a time, as slow for unknown names as for known."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from contracts.errors import InvalidField, Refused

MIN_PASSWORD = 8
MAX_PASSWORD = 1024
_AT_ONCE = 2
_WAITING = 32


class Passwords:
    """Hashes and checks. One check takes 64 MiB for a moment, so only a few run at once."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._decoy = self._hasher.hash("no user has this password")
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._pending = 0

    async def hash(self, password: str) -> str:
        """Hash a password that is long enough. Raises InvalidField."""
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise InvalidField("password", f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def check(self, stored: str | None, password: str) -> bool:
        """Compare with a stored hash; `None`, for an unknown name, costs the same and is False."""
        if self._pending >= _WAITING:
            raise Refused(429, "busy", "too many people log in at this moment; try again", retry_after=1.0)
        self._pending += 1
        try:
            async with self._slots:
                right = await asyncio.to_thread(self._matches, stored or self._decoy, password[:MAX_PASSWORD])
        finally:
            self._pending -= 1
        return right and stored is not None

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
