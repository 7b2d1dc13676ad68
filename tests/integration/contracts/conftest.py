"""A server for each test, and what several of them need of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import nkeys
import pytest

from contracts import bus, subjects
from contracts.access import tokens
from contracts.access.provision import mint_worker
from contracts.bus import Bus, KeyCredentials
from tests.kit.nats_server import NatsServer, nats_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path) as running:
        yield running


class CountedCredentials(KeyCredentials):
    """Credentials that count the attempts to connect with them."""

    asked = 0

    def jwt(self) -> str:
        self.asked += 1
        return super().jwt()


class WorkerIdentity:
    """Worker `n1_me` of function `echo`: its key, and tokens for it."""

    def __init__(self, server: NatsServer) -> None:
        self._files = server.files
        self.key = tokens.new_user_key()
        self.credentials = CountedCredentials("", self.key)

    def renew(self, lifetime_s: float) -> None:
        """Give it a new token, as its runtime does."""
        self.credentials.token = mint_worker(
            nkeys.from_seed(bytearray(self._files.node_key("n1").read_bytes().strip())),
            account_key=self._files.account_key("MEASURE"),
            function="echo",
            suffix="me",
            user_key=tokens.public(self.key),
            lifetime_s=lifetime_s,
        )

    async def connect(self, url: str) -> Bus:
        return await bus.connect(url, self.credentials, identity="n1_me", inbox=subjects.worker_inbox("n1_me"))


@pytest.fixture
def identity(server: NatsServer) -> WorkerIdentity:
    found = WorkerIdentity(server)
    found.renew(600)
    return found


@pytest.fixture
async def worker(server: NatsServer, identity: WorkerIdentity) -> AsyncIterator[Bus]:
    connection = await identity.connect(server.url)
    yield connection
    await connection.drain(within=1.0)
