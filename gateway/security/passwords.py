"""Passwords: argon2id, checked off the loop, a few at a time, as slow for unknown names as for known."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from contracts.errors import InvalidField, Refused

T = TypeVar("T")

MIN_PASSWORD = 12
MAX_PASSWORD = 1024
_FEW_CHARACTERS = 5
_AT_ONCE = max(1, min(4, (os.cpu_count() or 2) // 2))
_WAITING = 32
_NICENESS = 10


def check_password(name: str, password: str) -> None:
    """Refuse a password that is easily guessed. Raises InvalidField."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidField("password", f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if len(set(password)) < _FEW_CHARACTERS:
        raise InvalidField("password", f"must be made of {_FEW_CHARACTERS} different characters or more")
    # Beside the name there must be enough that is not the name.
    rest = password.casefold().replace(name.casefold(), "")
    if len(rest) < MIN_PASSWORD // 2:
        raise InvalidField("password", "must not be made of the user's name")


def _step_back() -> None:
    """Let the threads that hash, and those argon2 starts from them, run after the API's own (Linux: nice is per thread)."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class Passwords:
    """Hashes and checks, by the second choice of RFC 9106: 3 passes over 64 MiB with 4 lanes.

    At most half of the processors do so at a time, and behind the rest of the gateway.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._decoy = self._hasher.hash("no user has this password")
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="passwords", initializer=_step_back)
        self._pending = 0

    async def hash(self, name: str, password: str) -> str:
        """Hash a password that is good enough. Raises InvalidField, and Refused (429) when too many wait."""
        check_password(name, password)
        return await self._off_loop(lambda: self._hasher.hash(password))

    async def check(self, stored: str | None, password: str) -> bool:
        """Compare with a stored hash; `None`, for an unknown name, costs the same and is False."""
        # Longer than any that was ever set: what is left of it fits nothing, at the usual price.
        text = password[: MAX_PASSWORD + 1]
        right = await self._off_loop(lambda: self._matches(stored or self._decoy, text))
        return right and stored is not None

    async def _off_loop(self, work: Callable[[], T]) -> T:
        if self._pending >= _WAITING:
            raise Refused(429, "busy", "too many people log in at this moment; try again", retry_after=1.0)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._pending -= 1

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
