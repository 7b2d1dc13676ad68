"""The refresh token as a cookie, for the page: no script can read it, and no other site can use it.

`HttpOnly` and `SameSite=Strict` alone do not tell origins of one host apart by their port, so the cookie
counts only beside the header `Mmn-Session: cookie`, which no other origin can send without leave (CORS).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from litestar.datastructures import Cookie

from gateway.security.roles import API

HEADER = "Mmn-Session"
WANTED = "cookie"


class RefreshCookie:
    """Reads and writes the cookie of one gateway. Gateways that share the signing key share it, others never."""

    def __init__(self, key: bytes, *, secure: bool) -> None:
        name = f"mmn-refresh-{hashlib.sha256(b'cookie' + key).hexdigest()[:8]}"
        # Cookies know no ports: two networks on one machine must not overwrite each other's.
        self.name = f"__Secure-{name}" if secure else name
        self._secure = secure

    @staticmethod
    def wanted(headers: Mapping[str, str]) -> bool:
        """Whether the caller is the page, which keeps its refresh token this way."""
        return headers.get(HEADER) == WANTED

    def read(self, cookies: Mapping[str, str]) -> str | None:
        """The refresh token that came along."""
        return cookies.get(self.name)

    def keep(self, refresh: str, seconds: int) -> Cookie:
        """Let the browser keep a refresh token."""
        return self._cookie(refresh, seconds)

    def clear(self) -> Cookie:
        """Let the browser forget it."""
        return self._cookie("", 0)

    def _cookie(self, value: str, seconds: int) -> Cookie:
        return Cookie(
            key=self.name,
            value=value,
            max_age=seconds,
            path=f"{API}/auth",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
