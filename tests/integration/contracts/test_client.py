"""A connection comes back from whatever ended it, and no message can end it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts import bus, clock, streams, subjects
from contracts.access import roles, tokens
from contracts.bus import Bus, CannotConnect, FileCredentials, KeyCredentials
from contracts.tail import Tail
from tests.integration.contracts.conftest import WorkerIdentity
from tests.kit.eventually import eventually
from tests.kit.hostile import send_raw, unreadable
from tests.kit.nats_server import NatsServer, nats_server
from tests.kit.relay import relay

PROBE = "mmn.fn.echo.n1_me"


async def answering(worker: Bus) -> None:
    """Let a worker answer what comes on its work subject."""

    async def answer(msg: Msg) -> None:
        await msg.respond(b"here")

    await worker.subscribe(PROBE, answer)
    await worker.settle()


async def heard(caller: Bus) -> bool:
    return (await caller.nc.request(PROBE, b"", timeout=0.5)).data == b"here"


# --- credentials that end ----------------------------------------------------------------------------------------


async def test_a_token_that_ends_is_replaced_by_the_renewed_one(server: NatsServer, identity: WorkerIdentity) -> None:
    identity.renew(2)
    worker, anchor = await identity.connect(server.url), await server.connect(roles.ANCHOR, "anchor1")
    await answering(worker)
    assert await heard(anchor)
    identity.renew(600)
    await eventually(lambda: worker.reconnects, within=10)
    await eventually(lambda: heard(anchor))
    assert not worker.closed.is_set()
    await worker.drain()


async def test_a_token_that_is_renewed_too_late_is_waited_for(server: NatsServer, identity: WorkerIdentity) -> None:
    identity.renew(1)
    worker, anchor = await identity.connect(server.url), await server.connect(roles.ANCHOR, "anchor1")
    await answering(worker)
    await eventually(lambda: not worker.nc.is_connected, within=10)
    await refused_again(identity)
    assert not worker.nc.is_connected
    assert not worker.closed.is_set()
    identity.renew(600)
    await eventually(lambda: heard(anchor), within=10)
    await worker.drain()


async def test_a_revoked_token_is_cut_off_and_a_renewed_one_is_taken(
    server: NatsServer, identity: WorkerIdentity
) -> None:
    worker, anchor = await identity.connect(server.url), await server.connect(roles.ANCHOR, "anchor1")
    await answering(worker)
    revoked = await revoke(server, tokens.public(identity.key))
    await eventually(lambda: not worker.nc.is_connected)
    await refused_again(identity)
    assert not worker.nc.is_connected, "the revoked token came back"
    await eventually(lambda: clock.wall_ns() // 1_000_000_000 > revoked, within=2)
    identity.renew(600)
    await eventually(lambda: heard(anchor), within=10)
    await worker.drain()


async def refused_again(identity: WorkerIdentity) -> None:
    """Wait until the server has refused the old token a few times more."""
    before = identity.credentials.asked
    await eventually(lambda: identity.credentials.asked >= before + 3)


async def revoke(server: NatsServer, user_key: str) -> int:
    """Do what an authority does: push the account's token with every token of this user until now revoked."""
    files = server.files
    account = tokens.decode(files.account_tokens()["MEASURE"], tokens.public(files.operator))
    now = clock.wall_ns() // 1_000_000_000
    account["nats"]["revocations"] = {user_key: now}
    pushed = tokens.encode({name: account[name] for name in ("sub", "name", "nats")}, files.operator)
    key = tokens.new_user_key()
    limits = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
    token = tokens.encode({"sub": tokens.public(key), "name": "authority", "nats": limits}, files.accounts["SYS"])
    authority = await bus.connect(server.url, KeyCredentials(token, key), identity="authority", inbox="_INBOX")
    reply = await authority.nc.request("$SYS.REQ.CLAIMS.UPDATE", pushed.encode(), timeout=5)
    assert b"error" not in reply.data, reply.data
    await authority.drain()
    return now


async def test_a_first_connection_without_a_server_or_with_an_expired_token_fails_at_once(
    server: NatsServer, identity: WorkerIdentity
) -> None:
    identity.renew(-5)
    async with asyncio.timeout(4):
        with pytest.raises(CannotConnect, match=r"as n1_me: .*[Aa]uthorization"):
            await identity.connect(server.url)
    await server.stop()
    async with asyncio.timeout(4):
        with pytest.raises(CannotConnect, match="cannot connect to NATS at nats://127"):
            await identity.connect(server.url)


async def test_a_credentials_file_that_is_spoilt_at_a_reconnect_is_read_again_later(server: NatsServer) -> None:
    """A bug once: a seed that is none ended the task that reconnects, and the process lived on, deaf."""
    path = server.files.credentials(roles.GATEWAY, "gateway1")
    good = path.read_text()
    begin = good.index("-----BEGIN USER NKEY SEED")
    connection = await server.connect(roles.GATEWAY, "gateway1")
    for spoilt in ("", good[:200], good[:begin] + good[begin:].replace("SU", "SUX", 1)):
        before = connection.reconnects
        path.write_text(spoilt)
        with pytest.raises(CannotConnect):
            FileCredentials(path)
        await connection.nc.force_reconnect()
        await eventually(lambda before=before: connection.reconnects > before)  # type: ignore[misc]  # mypy cannot see its type
    path.write_text(good)


async def test_whatever_goes_wrong_in_reconnecting_it_is_tried_again(server: NatsServer) -> None:
    class Failing(FileCredentials):
        failures = 0

        def sign(self, nonce: bytes) -> bytes:
            if self.failures:
                self.failures -= 1
                raise LookupError("no key just now")
            return super().sign(nonce)

    credentials = Failing(server.files.credentials(roles.GATEWAY, "gateway1"))
    connection = await bus.connect(server.url, credentials, identity="gateway1", inbox="_INBOX_m.gateway1")

    def broken() -> None:
        raise LookupError("a callback's own error")

    connection.on_reconnect(broken)
    credentials.failures = 3
    await connection.nc.force_reconnect()
    await eventually(lambda: connection.reconnects == 1)
    await connection.flush()
    assert credentials.failures == 0
    await connection.drain()


# --- peers that freeze -------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def either(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path, tls=request.param) as running:
        yield running


async def through(server: NatsServer, url: str) -> Bus:
    """Connect as a gateway to another address of the server."""
    credentials = FileCredentials(server.files.credentials(roles.GATEWAY, "gateway1"))
    ca = bus.read_ca(server.ca)
    return await bus.connect(url, credentials, identity="gateway1", inbox="_INBOX_m.gateway1", ca=ca)


async def stuff(connection: Bus) -> None:
    """Publish more than the kernel's buffers take, without waiting for anyone."""
    for _ in range(30):
        await connection.nc.publish("mmn.jobs.submit", b"x" * 900_000)
    writer: asyncio.StreamWriter = connection.nc._transport._bare_io_writer  # type: ignore[union-attr]  # below TLS
    await eventually(lambda: writer.transport.get_write_buffer_size() > 1_000_000)


async def test_a_peer_that_froze_with_our_bytes_is_left_for_a_new_connection(either: NatsServer) -> None:
    async with relay(either.url) as between:
        connection = await through(either, between.url)
        between.freeze()
        await stuff(connection)
        # As after the pings that were not answered.
        await connection.nc._process_op_err(TimeoutError("stale connection"))
        await eventually(lambda: connection.reconnects == 1, within=5)
        await connection.drain(within=1.0)


async def test_leaving_a_frozen_server_ends_in_time(either: NatsServer) -> None:
    async with relay(either.url) as between:
        connection = await through(either, between.url)
        between.freeze()
        await stuff(connection)
        async with asyncio.timeout(4):
            await connection.drain(within=0.5)
        assert connection.closed.is_set()


# --- messages that cannot be read --------------------------------------------------------------------------------


HEALTH = b"mmn.modules.health.n1_me"
UNREADABLE = unreadable(HEALTH)


@pytest.mark.parametrize("case", UNREADABLE)
async def test_a_message_that_cannot_be_read_does_not_end_the_reading(
    server: NatsServer, worker: Bus, case: str
) -> None:
    """A bug once: one such message from one worker, and every Anchor was deaf for half a minute."""
    anchor = await server.connect(roles.ANCHOR, "anchor1")
    came: list[bytes] = []

    async def take(msg: Msg) -> None:
        came.append(msg.data)

    await anchor.subscribe(subjects.HEALTH, take)
    await anchor.settle()
    await send_raw(worker, UNREADABLE[case])
    await worker.publish(HEALTH.decode(), b"after")
    await eventually(lambda: came == [b"hi", b"after"])
    assert anchor.reconnects == 0


@pytest.mark.parametrize("token", [b"\xff", b"a\x0bb", b"\x0c", b"\xc3\x28"])
async def test_a_subject_that_cannot_be_read_does_not_end_what_follows_its_stream(
    server: NatsServer, worker: Bus, token: bytes
) -> None:
    """A bug once: it stays in the stream, so every gateway met it again after each reconnection."""
    gateway = await server.connect(roles.GATEWAY, "gateway1")
    await send_raw(worker, b"PUB mmn.progress.%b.n1_me 2\r\nhi\r\n" % token)
    await worker.publish("mmn.progress.j.n1_me", b"after")
    seen: list[Any] = []
    async with asyncio.timeout(5):
        async for item in Tail(gateway, streams.PROGRESS, start="all"):
            seen.append(item)
            if len(seen) == 2:
                break
    assert [item.data for item in seen] == [b"hi", b"after"]
    assert gateway.reconnects == 0


async def test_no_stranger_keeps_a_service_from_starting(server: NatsServer) -> None:
    """A bug once: an answer to a reply subject of a caller's choice was refused, and so the start failed."""
    anchor, people = await server.connect(roles.ANCHOR, "anchor1"), await server.connect(roles.OPERATOR, "operator")
    asked = asyncio.Event()

    async def answer(msg: Msg) -> None:
        await msg.respond(b"{}")
        asked.set()

    await anchor.subscribe("$SRV.PING", answer)
    await anchor.settle()
    await people.nc.publish("$SRV.PING", b"", reply="mmn.node.n1.announce")
    async with asyncio.timeout(5):
        await asked.wait()
    await anchor.settle()
    assert ["mmn.node.n1.announce" in text for text in anchor.denied] == [True]


async def test_a_subscription_that_is_refused_is_noticed_at_the_start(server: NatsServer) -> None:
    anchor = await server.connect(roles.ANCHOR, "anchor1")

    async def ignore(_: Msg) -> None:
        return

    await anchor.subscribe("mmn.out.*.*", ignore)
    with pytest.raises(bus.PermissionDenied, match=r"anchor1 may not use: .*mmn\.out\.\*\.\*"):
        await anchor.settle()


def test_a_file_that_holds_no_credentials_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.creds"
    with pytest.raises(CannotConnect, match=r"cannot read .*x\.creds"):
        FileCredentials(path)
    path.write_text("hello")
    with pytest.raises(CannotConnect, match=r"x\.creds is not a NATS credentials file"):
        FileCredentials(path)
