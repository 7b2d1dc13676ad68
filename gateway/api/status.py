"""Whether this gateway works."""

from __future__ import annotations

from litestar import Controller, get
from msgspec import Struct

from gateway.parts import Given
from gateway.security.roles import API


class Status(Struct, frozen=True, kw_only=True):
    """State of this gateway. `ready`: it is connected and has read all that it needs to answer."""

    id: str
    version: str
    ready: bool
    connected: bool
    indexed: bool
    stopping: bool


class StatusController(Controller):
    """Open to everyone, and tells nothing about the network."""

    path = f"{API}/status"
    tags = ("status",)

    @get(summary="State of this gateway", operation_id="status", security=[{}])
    async def status(self, parts: Given) -> Status:
        network = parts.network
        return Status(
            id=parts.settings.id,
            version=parts.version,
            ready=network.connected and network.ready and not parts.stopping,
            connected=network.connected,
            indexed=parts.index.complete,
            stopping=parts.stopping,
        )
