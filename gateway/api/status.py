"""Whether this gateway works, and a page at `/` that says where things are."""

from __future__ import annotations

from litestar import Controller, MediaType, get
from msgspec import Struct

from gateway.parts import Given
from gateway.security.roles import API

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>mmn</title>
<h1>mmn</h1>
<p>This is a gateway of a measurement network. Its API is under <code>/api/v1</code>,
described in <a href="/schema/openapi.json">OpenAPI</a>; its state is at
<a href="/api/v1/status">/api/v1/status</a>.</p>
</html>
"""


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


@get("/", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def page() -> str:
    """Say what this is to whoever opens it in a browser."""
    return _PAGE
