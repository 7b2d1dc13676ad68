"""A stream of packets over an exchange made up by the test: no socket, no privilege."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, cast

import pytest

from latency_ping.sockets import Arrival, Exchange, Probe, round_trip
from latency_ping.stream import Stream
from latency_ping.wire import EchoError
from runtime.sdk import CannotMeasure, Code, monotonic_ns
from runtime.sdk.testing import Bench

MS = 1_000_000
Answer = Callable[[Stream, Probe], None]


class Script:
    """An exchange that answers each probe as told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.probes: list[Probe] = []
        self.forgotten: list[Probe] = []

    def send(self, listener: Any, index: int, _sockaddr: object, *, size: int, ttl: int) -> Probe:
        probe = Probe(listener, index, index, bytes(size), monotonic_ns=monotonic_ns(), wall_ns=ttl)
        self.probes.append(probe)
        return probe

    def read_notices(self) -> None:
        self.answer(cast("Stream", self.probes[-1].listener), self.probes[-1])

    def read(self) -> None:
        pass

    def forget(self, probe: Probe) -> None:
        self.forgotten.append(probe)


def arrival(rtt_ms: float, source: str = "192.0.2.1") -> Arrival:
    return Arrival(int(rtt_ms * MS), "kernel", "kernel", 64, 56, source, intact=True)


async def played(
    answer: Answer, *, count: int = 4, timeout_ms: int = 20, deadline: float = 5.0
) -> tuple[Stream, Bench]:
    bench = Bench(deadline=deadline)
    script = Script(answer)
    stream = Stream(
        bench.context(),
        cast("Exchange", script),
        ("192.0.2.1", 0),
        count=count,
        interval_ns=MS,
        timeout_ns=timeout_ms * MS,
        size=56,
        ttl=64,
    )
    await stream.run()
    assert script.forgotten == script.probes
    return stream, bench


async def test_events_are_told_in_the_order_they_happen() -> None:
    _, bench = await played(lambda stream, probe: stream.replied(probe, arrival(1)), count=2)
    assert [(event["kind"], event["seq"]) for event in bench.events] == [
        ("sent", 0),
        ("reply", 0),
        ("sent", 1),
        ("reply", 1),
    ]


async def test_a_reply_after_the_waiting_time_is_late_and_lost() -> None:
    stream, bench = await played(lambda stream, probe: stream.replied(probe, arrival(21)), count=1)
    (packet,) = (record.packet("192.0.2.1") for record in stream.records)
    assert (packet.late, packet.rtt_ns) == (True, None)
    assert bench.events[-1]["kind"] == "late"
    assert stream.arrivals == []


async def test_a_second_reply_is_a_duplicate_and_changes_nothing_else() -> None:
    def twice(stream: Stream, probe: Probe) -> None:
        stream.replied(probe, arrival(1))
        stream.replied(probe, arrival(5))

    stream, _ = await played(twice, count=1)
    packet = stream.records[0].packet("192.0.2.1")
    assert packet.duplicate
    assert packet.rtt_ns == MS


async def test_replies_out_of_order_are_recorded_in_their_order_of_arrival() -> None:
    held: list[Probe] = []

    def swapped(stream: Stream, probe: Probe) -> None:
        held.append(probe)
        if len(held) == 2:
            stream.replied(held[1], arrival(1))
            stream.replied(held[0], arrival(2))

    stream, _ = await played(swapped, count=2)
    assert stream.arrivals == [1, 0]


async def test_silence_is_a_timeout_for_each_packet() -> None:
    stream, bench = await played(lambda _stream, _probe: None, count=3)
    assert [event["seq"] for event in bench.events if event["kind"] == "timeout"] == [0, 1, 2]
    assert not stream.truncated


async def test_a_deadline_leaves_packets_undecided_and_says_so() -> None:
    started = monotonic_ns()
    stream, _ = await played(lambda _stream, _probe: None, count=500, timeout_ms=5000, deadline=0.2)
    assert monotonic_ns() - started < 1_000 * MS
    assert stream.truncated
    assert 1 <= len(stream.records) < 500
    assert stream.undecided == [record.index for record in stream.records]


async def test_an_icmp_error_decides_a_packet_at_once() -> None:
    def refuse(stream: Stream, probe: Probe) -> None:
        stream.refused(probe, EchoError(3, 1, 1, probe.sequence, b""), "192.0.2.254")

    stream, _ = await played(refuse, count=2, timeout_ms=4000)
    error = stream.records[0].packet("192.0.2.1").error
    assert error is not None
    assert (error.type, error.code, error.source) == (3, 1, "192.0.2.254")


async def test_another_address_that_answers_is_named() -> None:
    stream, _ = await played(lambda stream, probe: stream.replied(probe, arrival(1, "192.0.2.9")), count=1)
    assert stream.records[0].packet("192.0.2.1").answered_by == "192.0.2.9"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENETUNREACH, Code.UNREACHABLE),
        (errno.EPERM, Code.TARGET_DENIED),
        (errno.EMSGSIZE, Code.TOO_LARGE),
    ],
)
async def test_a_send_the_kernel_refuses_is_classified_and_ends_the_stream(
    number: int, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> Probe:
        raise OSError(number, "made up")

    monkeypatch.setattr(Script, "send", refuse)
    stream, _ = await played(lambda _stream, _probe: None, count=3)
    assert stream.failure is not None
    assert (stream.failure.code, stream.failure.stage) == (code, "send")
    assert [record.packet("192.0.2.1").sent_at for record in stream.records] == [None]


async def test_a_full_send_buffer_skips_a_packet_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_options: object) -> Probe:
        raise OSError(errno.ENOBUFS, "made up")

    monkeypatch.setattr(Script, "send", full)
    stream, _ = await played(lambda _stream, _probe: None, count=3)
    assert (stream.overflows, len(stream.records), stream.failure) == (3, 3, None)


async def test_an_error_nobody_expects_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_options: object) -> Probe:
        raise OSError(errno.EBADF, "made up")

    monkeypatch.setattr(Script, "send", broken)
    with pytest.raises(CannotMeasure, match="made up"):
        await played(lambda _stream, _probe: None)


@pytest.mark.parametrize(
    ("kernel_sent", "kernel_received", "expected"),
    [
        (1_010, 1_040, (30, "kernel", "kernel")),
        (None, 1_040, (40, "user", "kernel")),
        (1_010, None, (50, "user", "user")),
        (1_010, 999_000, (50, "user", "user")),
        (1_010, 500, (50, "user", "user")),
    ],
    ids=["both", "no send stamp", "no receive stamp", "clock stepped ahead", "clock stepped back"],
)
def test_the_most_exact_stamps_that_cannot_be_wrong_are_used(
    kernel_sent: int | None, kernel_received: int | None, expected: tuple[int, str, str]
) -> None:
    probe = Probe(cast("Any", None), 0, 0, b"", monotonic_ns=70_000, wall_ns=1_000, kernel_ns=kernel_sent)
    assert round_trip(probe, 70_050, kernel_received) == expected
