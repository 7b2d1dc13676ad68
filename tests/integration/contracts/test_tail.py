"""Whatever happens to a server, a stream or a consumer: what is kept is handed out, in order, once."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from contracts import streams
from contracts.access import roles
from contracts.bus import Bus
from contracts.tail import CaughtUp, Entry, Tail, Watch
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.node import send_signal


class Following:
    """What a tail of EVENTS has handed out so far; each message is its number."""

    def __init__(self, server: NatsServer, reader: Bus, writer: Bus) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.seen: list[int] = []
        self.sent = 0

    async def follow(self) -> None:
        async for item in Tail(self.reader, streams.EVENTS, start="all"):
            assert not isinstance(item, CaughtUp)
            self.seen.append(int(item.data))

    async def send(self, count: int = 20) -> None:
        """Store some more, each acknowledged; while the server is away, later."""
        for _ in range(count):
            number = self.sent + 1

            async def stored(number: int = number) -> bool:
                subject, once = f"mmn.jobs.event.{number % 3}", {"Nats-Msg-Id": str(number)}
                await self.writer.js.publish(subject, str(number).encode(), timeout=1.0, headers=once)
                return True

            await eventually(stored, within=20)
            self.sent = number

    async def complete(self, *, missing: int = 0, within: float = 20.0) -> None:
        """Wait for the last one; everything else must have come before it, once, in order."""
        await eventually(lambda: self.seen and self.seen[-1] == self.sent, within=within)
        assert self.seen[-(self.sent - missing) :] == list(range(missing + 1, self.sent + 1))
        assert len(self.seen) == len(set(self.seen))

    async def consumers(self) -> list[str]:
        manager = await self.server.connect(roles.PROVISIONER, "manager")
        return [info.name for info in await manager.js.consumers_info(streams.EVENTS)]


@pytest.fixture
async def following(server: NatsServer) -> AsyncIterator[Following]:
    reader, writer = await server.connect(roles.GATEWAY, "gateway1"), await server.connect(roles.ANCHOR, "anchor1")
    following = Following(server, reader, writer)
    async with background(following.follow()):
        await following.send()
        await following.complete()
        yield following


@asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def kill_and_start_again(server: NatsServer) -> None:
    send_signal(server.pid, signal.SIGKILL)
    await server.stop()
    await server.start()


async def freeze(server: NatsServer) -> None:
    """Stand still for longer than a tail waits for a heartbeat."""
    send_signal(server.pid, signal.SIGSTOP)
    await asyncio.sleep(3.2)
    send_signal(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("trouble", [kill_and_start_again, freeze])
async def test_a_server_that_was_killed_or_stood_still(
    following: Following, trouble: Callable[[NatsServer], Awaitable[None]]
) -> None:
    sending = asyncio.get_running_loop().create_task(following.send(60))
    await trouble(following.server)
    await sending
    await following.send(5)
    await following.complete()


async def test_a_consumer_that_was_deleted_by_hand(following: Following) -> None:
    manager = await following.server.connect(roles.PROVISIONER, "manager")
    for _ in range(2):
        for name in await following.consumers():
            assert await manager.js.delete_consumer(streams.EVENTS, name)
        await following.send(5)
        await following.complete()


async def test_a_stream_that_was_purged(following: Following) -> None:
    manager = await following.server.connect(roles.PROVISIONER, "manager")
    await manager.js.purge_stream(streams.EVENTS)
    await following.send(5)
    await following.complete()


async def test_a_stream_that_was_made_anew(following: Following) -> None:
    """Its sequences begin again at 1: what it holds is new, whatever its numbers say."""
    manager = await following.server.connect(roles.PROVISIONER, "manager")
    before = following.sent
    await manager.js.delete_stream(streams.EVENTS)
    await following.server.provision()
    await following.send(5)
    await eventually(lambda: following.seen[-5:] == list(range(before + 1, before + 6)), within=15)
    assert len(following.seen) == len(set(following.seen))


async def test_a_reader_whose_connection_broke(following: Following) -> None:
    for _ in range(3):
        sending = asyncio.get_running_loop().create_task(following.send(20))
        await following.reader.nc.force_reconnect()
        await sending
    await following.complete()


async def test_what_came_while_a_new_tail_was_interrupted_before_its_first_message(server: NatsServer) -> None:
    reader, writer = await server.connect(roles.GATEWAY, "gateway1"), await server.connect(roles.ANCHOR, "anchor1")
    seen: list[bytes] = []

    async def follow() -> None:
        async for item in Tail(reader, streams.EVENTS, start="new", mark=True):
            told = b"present" if isinstance(item, CaughtUp) else item.data
            seen.append(told)

    await writer.js.publish("mmn.jobs.event.a", b"old")
    async with background(follow()):
        await eventually(lambda: seen == [b"present"])
        await kill_and_start_again(server)

        async def stored() -> bool:
            await writer.js.publish("mmn.jobs.event.a", b"new", headers={"Nats-Msg-Id": "1"}, timeout=1.0)
            return True

        await eventually(stored, within=10)
        await eventually(lambda: seen == [b"present", b"new"], within=15)


async def test_a_watch_sees_every_key_as_it_is_through_all_of_this(server: NatsServer) -> None:
    gateway = await server.connect(roles.GATEWAY, "gateway1")
    manager = await server.connect(roles.PROVISIONER, "manager")
    held: dict[str, bytes | None] = {}
    revisions: list[int] = []

    async def follow() -> None:
        async for item in Watch(gateway, streams.BUCKET_FUNCTIONS):
            if isinstance(item, Entry):
                held[item.key] = item.value
                revisions.append(item.revision)

    async def put(key: str, value: bytes) -> None:
        async def stored() -> bool:
            bucket = await gateway.js.key_value(streams.BUCKET_FUNCTIONS)
            await bucket.put(key, value)
            return True

        await eventually(stored, within=10)

    await put("kept", b"1")
    async with background(follow()):
        await eventually(lambda: held == {"kept": b"1"})
        await put("changed", b"1")
        await kill_and_start_again(server)
        await put("changed", b"2")
        await eventually(lambda: held == {"kept": b"1", "changed": b"2"}, within=15)
        for info in await manager.js.consumers_info(f"KV_{streams.BUCKET_FUNCTIONS}"):
            await manager.js.delete_consumer(f"KV_{streams.BUCKET_FUNCTIONS}", info.name)
        await put("changed", b"3")
        await (await gateway.js.key_value(streams.BUCKET_FUNCTIONS)).delete("kept")
        await eventually(lambda: held == {"kept": None, "changed": b"3"}, within=15)
        assert revisions == sorted(set(revisions))
