"""Workers live on beyond their tokens: a new connection serves before the old one is given up."""

from pathlib import Path

import pytest

from contracts.access.book import Book
from contracts.bus import Bus
from gateway.authority.accounts import Accounts
from tests.kit.nats_server import NatsServer
from tests.kit.node import Announcements, Node, call, deploy
from tests.kit.renewal import WORKERS, renewed_under_load
from tests.kit.wheels import FUNCTIONS, wheel_of

LIFETIME_S = 8
SECONDS = 5 * LIFETIME_S


@pytest.mark.timeout(180)
async def test_tokens_are_renewed_under_load_and_no_call_is_lost(tmp_path: Path) -> None:
    told = await renewed_under_load(tmp_path, seconds=SECONDS, lifetime_s=LIFETIME_S)
    assert told.lost == []
    assert told.closed == [], "the same workers from the first to the last"
    assert told.answered > 500
    assert len(told.connections) == WORKERS
    # Each lifetime has brought a new connection, and no old one was cut off by the server.
    assert min(told.connections.values()) >= SECONDS // LIFETIME_S
    assert set(told.ended) == {"Client Closed"}


async def test_a_worker_whose_key_was_revoked_is_replaced_by_one_with_another(
    server: NatsServer, node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    assert node is not None
    await deploy(gateway, wheel_of(FUNCTIONS / "echo"))
    first = await announced.next("ready", "echo")
    assert first.user_key is not None
    members = Book()
    members.revoke_user(first.user_key)
    await Accounts(server.files, server.url, server.ca).push(members)
    failed = await announced.next("failed", "echo")
    assert (failed.instance, "revoked or have expired" in failed.reason) == (first.instance, True), failed.reason
    second = await announced.next("ready", "echo", count=2)
    assert second.user_key != first.user_key
    await call(anchor, "echo", second.instance)
