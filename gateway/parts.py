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
from gateway.security.guard import Guard
from gateway.security.passwords import Passwords
from gateway.security.roles import Role
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
        self.guard = Guard(tokens, self.role_of)
        self.stopping = False
        # Inspection unpacks up to 64 MiB; two at a time keep that from adding up.
        self.inspecting = asyncio.Semaphore(2)

    def role_of(self, name: str) -> Role | None:
        """A user's role at this moment; None when there is no such user."""
        user = self.network.user(name)
        return user.role if user else None


Given: TypeAlias = NamedDependency[Parts]
"""How a route asks for the parts."""
