"""Headers that every answer carries, errors included; a route that sets one of them itself has its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar.types import BeforeMessageSendHookHandler, Message, Scope

HSTS_S = 365 * 86400

ALWAYS: Mapping[str, str] = {
    # For answers of the API; the page's files bring a policy that lets the page work.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def secured(*, tls: bool) -> BeforeMessageSendHookHandler:
    """The hook that adds them. With `tls`, browsers are told to come by https only from then on (RFC 6797)."""
    wanted = dict(ALWAYS) | ({"Strict-Transport-Security": f"max-age={HSTS_S}"} if tls else {})
    encoded = [(name.lower().encode(), value.encode()) for name, value in wanted.items()]

    async def add(message: Message, _: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        told: Any = message
        headers = list(told.get("headers", ()))
        there = {name.lower() for name, _ in headers}
        told["headers"] = [*headers, *((name, value) for name, value in encoded if name not in there)]

    return add
