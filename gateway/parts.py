"""What the routes work with, put together once by the program or by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeAlias

from litestar.di import NamedDependency

from gateway.index import Index
from gateway.live.hub import Hub
from gateway.live.shares import Shares
from gateway.network import Network
from gateway.security.audit import Audit
from gateway.security.cookies import RefreshCookie
from gateway.security.guard import Guard
from gateway.security.passwords import Passwords
from gateway.security.sessions import Sessions
from gateway.security.throttle import Throttle
from gateway.security.tokens import Tokens
from gateway.settings import Settings


class Parts:
    """The parts of one gateway. `environment` are the distributions that bundles may build on."""

    def __init__(
        self,
        settings: Settings,
        network: Network,
        index: Index,
        *,
        tokens: Tokens,
        passwords: Passwords,
        environment: Mapping[str, str],
        version: str,
    ) -> None:
        self.settings = settings
        self.network = network
        self.index = index
        self.hub = Hub(network)
        self.shares = Shares()
        self.tokens = tokens
        self.passwords = passwords
        self.environment = environment
        self.version = version
        self.sessions = Sessions(network, tokens, idle_s=settings.refresh_ttl_s)
        self.guard = Guard(tokens, self.sessions.role)
        self.throttle = Throttle()
        self.audit = Audit(network, settings.id)
        self.cookie = RefreshCookie(tokens.key, secure=settings.https)
        self.stopping = False
        # Inspection unpacks up to 64 MiB; two at a time keep that from adding up.
        self.inspecting = asyncio.Semaphore(2)


Given: TypeAlias = NamedDependency[Parts]
"""How a route asks for the parts."""
