"""Real packets, on loopback only."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latency_ping import PingParams, measure
from latency_ping.sockets import _EXCHANGES, Arrival, Probe, exchange_on
from latency_ping.wire import EchoError
from runtime.sdk import (
    Blame,
    Code,
    Function,
    IcmpSockets,
    InvalidField,
    Stamps,
    failed,
    kernelstamps,
    monotonic_ns,
)
from runtime.sdk.testing import Bench

BLACK_HOLE = "127.255.255.255"
FUNCTION = Function.load(measure)
IPV6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this host has no IPv6")


@pytest.fixture
def bench(icmp_sockets: IcmpSockets) -> Iterator[Bench]:
    with Bench(deadline=10.0, sockets=icmp_sockets) as bench:
        yield bench


@pytest.fixture
def black_hole(icmp_sockets: IcmpSockets) -> str:
    """An address on loopback that takes packets and never answers: hosts ignore echo to a broadcast address."""
    setting = Path("/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts")
    if not setting.exists() or setting.read_text().strip() != "1":
        pytest.skip("needs `sudo sysctl -w net.ipv4.icmp_echo_ignore_broadcasts=1`")
    icmp_sockets.get(4).sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return BLACK_HOLE


@pytest.mark.parametrize("target", ["127.0.0.1", pytest.param("::1", marks=IPV6)])
async def test_loopback_answers_with_kernel_stamps_in_both_directions(bench: Bench, target: str) -> None:
    measured = await bench.run(FUNCTION, {"target": target, "count": 5, "interval_ms": 10})
    report = measured.data
    assert report is not None
    assert measured.failure is None
    assert (report.sent, report.received, report.loss_ratio) == (5, 5, 0.0)
    assert measured.stamps == Stamps(tx="kernel", rx="kernel")
    assert report.kernel_stamped == 5
    assert 0 < report.round_trip.min_ns <= report.round_trip.max_ns < 1_000_000_000
    assert report.reply_ttls == [64]
    assert {packet.size for packet in report.packets} == {56}
    assert {packet.answered_by for packet in report.packets} == {None}
    assert measured.address == target
    assert measured.quality is not None
    assert measured.quality.drops == 0
    assert [event["kind"] for event in bench.events].count("reply") == 5


async def test_fifty_jobs_on_one_socket_do_not_mix_their_replies(bench: Bench) -> None:
    jobs = [
        {
            "target": f"127.0.0.{1 + n % 25}",
            "count": 8,
            "interval_ms": 10,
            "size": 16 + n,
            "ttl": 64 + n,
            "timeout_ms": 5000,
        }
        for n in range(50)
    ]
    results = await asyncio.gather(*(bench.run(FUNCTION, job) for job in jobs))
    for job, measured in zip(jobs, results, strict=True):
        assert measured.data is not None
        assert (measured.data.sent, measured.data.received) == (8, 8)
        assert {packet.size for packet in measured.data.packets} == {job["size"]}
        assert {packet.answered_by for packet in measured.data.packets} == {None}
        assert measured.data.duplicates == measured.data.corrupted == 0
    assert not _EXCHANGES


async def test_silence_is_a_timeout_with_data(bench: Bench, black_hole: str) -> None:
    measured = await bench.run(FUNCTION, {"target": black_hole, "count": 5, "interval_ms": 10, "timeout_ms": 50})
    assert measured.failure is not None
    assert (measured.failure.code, measured.failure.blame) == (Code.TIMEOUT, Blame.TARGET)
    assert measured.data is not None
    assert (measured.data.sent, measured.data.received, measured.data.loss_ratio) == (5, 0, 1.0)
    assert measured.data.round_trip is None
    assert measured.stamps is None
    assert measured.metrics == []
    assert [event["kind"] for event in bench.events].count("timeout") == 5


async def test_a_dead_target_opens_its_breaker_for_equal_jobs_only(bench: Bench, black_hole: str) -> None:
    job = {"target": black_hole, "count": 1, "timeout_ms": 10}
    codes = [(await bench.run(FUNCTION, job)).failure.code for _ in range(6)]  # type: ignore[union-attr]
    assert codes == [Code.TIMEOUT] * 5 + [Code.BREAKER_OPEN]
    patient = await bench.run(FUNCTION, {**job, "timeout_ms": 20})
    assert patient.failure is not None
    assert patient.failure.code is Code.TIMEOUT


async def test_the_deadline_cuts_a_long_job_short(icmp_sockets: IcmpSockets) -> None:
    started = monotonic_ns()
    measured = await Bench(deadline=0.4, sockets=icmp_sockets).run(
        FUNCTION, {"target": "127.0.0.1", "count": 1000, "interval_ms": 50}
    )
    assert monotonic_ns() - started < 1_400_000_000
    assert measured.data is not None
    assert measured.data.truncated
    assert measured.data.sent < 20


async def test_without_kernel_stamps_the_result_says_user(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket, *, tx: bool = True) -> Stamps:
        del tx
        sock.setsockopt(socket.SOL_SOCKET, 37, 0)
        return Stamps(tx="user", rx="user")

    monkeypatch.setattr(kernelstamps, "enable", refuse)
    measured = await bench.run(FUNCTION, {"target": "127.0.0.1", "count": 2, "interval_ms": 10})
    assert measured.stamps == Stamps(tx="user", rx="user")
    assert measured.data is not None
    assert measured.data.kernel_stamped == 0
    assert measured.data.round_trip.min_ns > 0


class Witness:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.replies: list[Arrival] = []
        self.errors: list[tuple[EchoError, str]] = []
        self.heard = asyncio.Event()

    def replied(self, _probe: Probe, arrival: Arrival) -> None:
        self.replies.append(arrival)
        self.heard.set()

    def refused(self, _probe: Probe, error: EchoError, source: str) -> None:
        self.errors.append((error, source))
        self.heard.set()


def checksummed(message: bytes) -> bytes:
    padded = message + bytes(len(message) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]


def forge(source: str, message: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.bind((source, 0))
        sock.sendto(checksummed(message), ("127.0.0.1", 0))


async def test_forged_and_foreign_replies_are_ignored(icmp_sockets: IcmpSockets, black_hole: str) -> None:
    icmp = icmp_sockets.get(4)
    if icmp.kind != "raw":
        pytest.skip("forging needs a raw socket: run as root")
    with exchange_on(icmp) as exchange:
        witness = Witness()
        probe = exchange.send(witness, 0, (black_hole, 0), size=56, ttl=64)
        head = struct.pack("!BBHHH", 0, 0, 0, icmp.ident, probe.sequence)
        forge("127.0.0.1", head + bytes(56))
        forge("127.0.0.1", struct.pack("!BBHHH", 0, 0, 0, icmp.ident ^ 1, probe.sequence) + probe.payload)
        forge("127.0.0.1", struct.pack("!BBHHH", 0, 0, 0, icmp.ident, probe.sequence ^ 1) + probe.payload)
        forge("127.0.0.7", head + probe.payload)
        async with asyncio.timeout(5):
            await witness.heard.wait()
        assert exchange.ignored == 2, "the one with a foreign identifier is not even seen"
        exchange.forget(probe)
    (arrival,) = witness.replies
    assert (arrival.source, arrival.intact) == ("127.0.0.7", True)


async def test_the_sender_of_an_icmp_error_is_told(icmp_sockets: IcmpSockets, black_hole: str) -> None:
    icmp = icmp_sockets.get(4)
    if icmp.kind != "raw":
        pytest.skip("forging needs a raw socket: run as root")
    with exchange_on(icmp) as exchange:
        witness = Witness()
        probe = exchange.send(witness, 0, (black_hole, 0), size=56, ttl=64)
        quoted = bytes([0x45]) + bytes(8) + bytes([1]) + bytes(10)
        quoted += struct.pack("!BBHHH", 8, 0, 0, icmp.ident, probe.sequence)
        forge("127.0.0.9", struct.pack("!BBHI", 3, 1, 0, 0) + quoted + b"not ours")
        forge("127.0.0.9", struct.pack("!BBHI", 3, 1, 0, 0) + quoted)
        async with asyncio.timeout(5):
            await witness.heard.wait()
        assert exchange.ignored == 1
        exchange.forget(probe)
    ((error, source),) = witness.errors
    assert (error.type, error.code, source) == (3, 1, "127.0.0.9")


async def test_a_cancelled_job_leaves_nothing_behind(bench: Bench, black_hole: str) -> None:
    sent = asyncio.Event()
    bench.on_progress = lambda _event: sent.set()
    async with asyncio.TaskGroup() as group:
        job = group.create_task(bench.run(FUNCTION, {"target": black_hole, "timeout_ms": 9000}))
        async with asyncio.timeout(5):
            await sent.wait()
        job.cancel()
    assert job.cancelled()
    assert not _EXCHANGES


@pytest.mark.parametrize(
    ("number", "code", "blame"),
    [
        (socket.EAI_NONAME, Code.NAME_NOT_FOUND, Blame.RESOLVER),
        (socket.EAI_AGAIN, Code.NAME_TIMEOUT, Blame.RESOLVER),
        (socket.EAI_FAIL, Code.NAME_FAILURE, Blame.RESOLVER),
    ],
)
async def test_a_name_that_does_not_resolve_is_a_result(
    number: int, code: Code, blame: Blame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_args: Any, **_options: Any) -> Any:
        raise socket.gaierror(number, "made up")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    measured = await Bench(sockets=IcmpSockets.none()).run(FUNCTION, {"target": "nowhere.example"})
    assert measured.failure is not None
    assert (measured.failure.code, measured.failure.blame) == (code, blame)
    assert (measured.target, measured.address, measured.data) == ("nowhere.example", None, None)


async def test_an_address_the_node_refuses_is_not_pinged() -> None:
    bench = Bench(policy=lambda address: failed(Code.TARGET_DENIED, address), sockets=IcmpSockets.none())
    measured = await bench.run(FUNCTION, {"target": "127.0.0.1"})
    assert measured.failure == failed(Code.TARGET_DENIED, "127.0.0.1")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "params.target"),
        ({"target": ""}, "params.target"),
        ({"target": "a b"}, "params.target"),
        ({"target": "127.0.0.1\n"}, "params.target"),
        ({"target": "user@host"}, "params.target"),
        ({"target": "x" * 254}, "params.target"),
        ({"target": "a", "count": 0}, "params.count"),
        ({"target": "a", "count": 1001}, "params.count"),
        ({"target": "a", "interval_ms": 9}, "params.interval_ms"),
        ({"target": "a", "size": 15}, "params.size"),
        ({"target": "a", "family": "5"}, "params.family"),
        ({"target": "a", "ttl": 0}, "params.ttl"),
        ({"target": "a", "cuont": 5}, "params.cuont"),
    ],
)
def test_parameters_outside_their_bounds_are_refused_by_name(params: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        FUNCTION.decode(params)
    assert refused.value.field == field


def test_defaults_are_those_of_the_readme() -> None:
    assert FUNCTION.encode(PingParams(target="a")) == {
        "target": "a",
        "count": 5,
        "interval_ms": 200,
        "timeout_ms": 1000,
        "size": 56,
        "family": "auto",
        "ttl": 64,
    }
