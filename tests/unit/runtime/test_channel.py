"""Frames between a runtime and a worker."""

import asyncio
import socket
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.channel import (
    MAX_FRAME_BYTES,
    Beat,
    BrokenFrame,
    Channel,
    Drain,
    Frames,
    FromRuntime,
    FromWorker,
    Hello,
    Ready,
    Renew,
    Unfit,
    frame,
)


@given(
    st.lists(st.one_of(st.builds(Hello, st.text()), st.just(Beat()), st.builds(Unfit, st.text(), st.booleans()))),
    st.lists(st.integers(1, 50)),
)
def test_frames_survive_any_cut(messages: list[Hello | Beat | Unfit], cuts: list[int]) -> None:
    data = b"".join(frame(message) for message in messages)
    frames = Frames()
    found: list[bytes] = []
    for cut in cuts:
        found += frames.feed(data[:cut])
        data = data[cut:]
    found += frames.feed(data)
    assert [msgspec.msgpack.decode(body, type=FromWorker) for body in found] == messages


def test_a_frame_that_claims_to_be_huge_is_refused_before_it_is_read() -> None:
    with pytest.raises(BrokenFrame):
        list(Frames().feed((MAX_FRAME_BYTES + 1).to_bytes(4)))
    with pytest.raises(BrokenFrame):
        frame(Unfit("x" * MAX_FRAME_BYTES))


class Ends:
    """Both ends of a pair, and what arrived at the runtime's."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.messages: list[Any] = []
        self.reasons: list[str] = []
        self.channel = Channel(ours, FromWorker, self.messages.append, self.reasons.append)


async def test_what_waits_is_read_at_once_on_request() -> None:
    ends = Ends()
    ends.theirs.sendall(frame(Beat()) * 3)
    ends.channel.receive()
    assert ends.messages == [Beat()] * 3
    ends.channel.close()
    ends.theirs.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "closed"),
        (b"\xff\xff\xff\xff", "broken frame"),
        (b"\x00\x00\x00\x01\xc1", "broken frame"),
        (frame(Drain(1.0)), "broken frame"),
    ],
)
async def test_the_end_and_nonsense_are_told_once(data: bytes, reason: str) -> None:
    ends = Ends()
    ends.theirs.sendall(data)
    ends.theirs.close()
    ends.channel.receive()
    ends.channel.receive()
    assert len(ends.reasons) == 1
    assert ends.reasons[0].startswith(reason)
    assert not ends.messages


async def test_a_message_larger_than_the_buffers_goes_through() -> None:
    ours, theirs = socket.socketpair()
    got: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    reader = Channel(theirs, FromWorker, got.set_result, lambda _: None)
    writer = Channel(ours, FromRuntime, lambda _: None, lambda _: None)
    big = Ready({"x": "y" * 900_000}, {})
    writer.send(big)
    assert writer.backlog
    async with asyncio.timeout(5):
        assert await got == big
    assert not writer.backlog
    reader.close()
    writer.close()


async def test_a_side_that_never_reads_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    reasons: list[str] = []
    channel = Channel(ours, FromRuntime, lambda _: None, reasons.append)
    for _ in range(10):
        channel.send(Renew("x" * 900_000))
    assert reasons == ["the other side does not read"]
    theirs.close()
