import asyncio

import pytest
from msgspec import Raw

from gateway.live import client as module
from gateway.live.client import Client, Frame, frame_of
from gateway.live.messages import Gap, Item, Pong


def frame(sequence: int, *, size: int = 10) -> Frame:
    return frame_of([Item("progress", sequence, "mmn.progress.j1.n1_a", Raw(b'"' + b"x" * size + b'"'))], "one")


@pytest.mark.parametrize(("count", "size"), [(6, 10), (2, 1000)], ids=["frames", "bytes"])
async def test_what_is_held_back_leaves_room_for_the_replay_before_it(count: int, size: int) -> None:
    client = Client(frames=10, size=3000)
    client.hold("progress")
    for n in range(count):
        client.offer(frame(100 + n, size=size))
    async with asyncio.timeout(1):
        await client.put(frame(1))
        assert '"seq":1,' in (await client.next() or "")
        await client.put(frame(2))
    client.release("progress")
    texts = [await client.next() or "" for _ in range(count + 1)]
    assert all(f'"seq":{n},' in text for n, text in zip([2, *range(100, 100 + count)], texts, strict=True))
    assert (client._size, client._held_size) == (0, 0)


async def test_a_replay_still_waits_for_who_does_not_read() -> None:
    client = Client(frames=4)
    for n in range(3):
        await client.put(frame(n))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await client.put(frame(9))


def test_what_is_held_back_is_bounded_too() -> None:
    client = Client(frames=4)
    client.hold("progress")
    for n in range(5):
        client.offer(frame(n))
    (gap,) = client._waiting
    assert isinstance(gap, str)
    assert '"missed":5' in gap
    assert client._held_size == 0


async def test_messages_of_the_protocol_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_MESSAGES", 3)
    client = Client()
    for _ in range(10):
        # Who reads may ask as often as they like.
        client.tell(Pong())
        await client.next()
    assert not client.overrun.is_set()
    for _ in range(10):
        client.tell(Pong())
    assert client.overrun.is_set()
    assert len(client._waiting) == 3


def test_gaps_do_not_pile_up_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_MESSAGES", 3)
    client = Client(frames=1)
    client.tell(Gap(topic="logs", reason="expired", missed=None, cursor=None))
    for n in range(20):
        client.offer(frame(n))
    assert client.overrun.is_set()
