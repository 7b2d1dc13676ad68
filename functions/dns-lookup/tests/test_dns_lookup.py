"""Real questions to a tiny name server on loopback, over UDP and TCP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dns_lookup import measure, servers
from runtime.sdk import Blame, CannotMeasure, Code, Function, Stamps, failed, kernelstamps, monotonic_ns
from runtime.sdk.testing import Bench

FUNCTION = Function.load(measure)
IPV6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this host has no IPv6")

Query = dns.message.Message
Script = Callable[[Query, str], Iterable[bytes]]


class Nano(asyncio.DatagramProtocol):
    """A name server that sends what a script says to each query, and notes the queries."""

    def __init__(self) -> None:
        self.script: Script = lambda query, _transport: [answer(query)]
        self.queries: list[tuple[str, Query]] = []
        self.port = 0
        self.framed = True
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        for wire in self._replies(data, "udp"):
            self._transport.sendto(wire, addr)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            for wire in self._replies(await reader.readexactly(length), "tcp"):
                writer.write((struct.pack("!H", len(wire)) if self.framed else b"") + wire)
        writer.close()

    def _replies(self, wire: bytes, transport: str) -> Iterable[bytes]:
        query = dns.message.from_wire(wire)
        self.queries.append((transport, query))
        return self.script(query, transport)


@pytest.fixture
async def nano() -> AsyncIterator[Nano]:
    server = Nano()
    listener = await asyncio.start_server(server.stream, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    endpoint, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", server.port))
    yield server
    endpoint.close()
    listener.close()
    await listener.wait_closed()


def answer(query: Query, *records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR, flags: int = 0) -> bytes:
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(rcode)
    response.flags |= flags
    name = query.question[0].name
    for record in records:
        ttl, kind, data = record.split(" ", 2)
        response.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    return response.to_wire(max_size=65_535)


async def ask(nano: Nano, *, bench: Bench | None = None, **params: Any) -> Any:
    job = {"name": "host.example", "server": "127.0.0.1", "port": nano.port, "timeout_ms": 5000, **params}
    return await (bench or Bench()).run(FUNCTION, job)


async def test_an_answer_over_udp_is_reported_with_its_records_and_a_kernel_stamp(nano: Nano) -> None:
    nano.script = lambda query, _: [answer(query, "300 A 192.0.2.1", "300 A 192.0.2.2")]
    bench = Bench()
    measured = await ask(nano, bench=bench)
    report = measured.data
    assert measured.failure is None
    assert (measured.target, measured.address) == ("127.0.0.1", "127.0.0.1")
    assert measured.stamps == Stamps(tx="user", rx="kernel")
    assert (report.name, report.type, report.class_) == ("host.example.", "A", "IN")
    assert (report.rcode, report.rcode_name, report.flags) == (0, "NOERROR", ["QR", "RD", "RA"])
    assert report.id_match is True
    assert [(one.name, one.type, one.class_, one.ttl, one.rdata) for one in report.answers] == [
        ("host.example.", "A", "IN", 300, "192.0.2.1"),
        ("host.example.", "A", "IN", 300, "192.0.2.2"),
    ]
    assert (report.counts.question, report.counts.answer, report.counts.authority) == (1, 2, 0)
    assert 0 < report.query_ns < 5_000_000_000
    assert (report.connect_ns, report.handshake_ns, report.resolve_ns) == (None, None, None)
    assert (report.truncated, report.retried_over_tcp, report.message) == (False, False, None)
    assert report.message_bytes > 40
    (attempt,) = report.attempts
    assert (attempt.transport, attempt.server, attempt.outcome) == ("udp", "127.0.0.1", "answer")
    assert attempt.duration_ns >= attempt.query_ns == report.query_ns
    assert [event["kind"] for event in bench.events] == ["query", "answer"]


@IPV6
async def test_a_server_is_asked_over_ipv6_and_by_name(nano: Nano) -> None:
    loop = asyncio.get_running_loop()
    endpoint, _ = await loop.create_datagram_endpoint(lambda: nano, local_addr=("::1", 0))
    port = endpoint.get_extra_info("sockname")[1]
    measured = await ask(nano, server="::1", port=port)
    assert measured.failure is None
    assert measured.data.server == "::1"
    endpoint.close()


async def test_a_server_given_by_name_is_resolved_first(nano: Nano) -> None:
    measured = await ask(nano, server="localhost", family="4")
    assert measured.failure is None
    assert (measured.target, measured.address) == ("localhost", "127.0.0.1")
    assert measured.data.resolve_ns > 0


async def test_the_query_says_what_was_asked_for(nano: Nano) -> None:
    chaos: dict[str, Any] = {"class": "CH"}
    await ask(nano, type="TXT", **chaos, recursion=False, checking_disabled=True, dnssec_ok=True, nsid=True)
    await ask(nano, name="192.0.2.1", type="PTR", edns=False)
    (_, rich), (_, plain) = nano.queries
    assert rich.question[0].to_text() == "host.example. CH TXT"
    assert not rich.flags & dns.flags.RD
    assert rich.flags & dns.flags.CD
    assert rich.ednsflags & dns.flags.DO
    assert rich.payload == 1232
    assert isinstance(rich.options[0], dns.edns.NSIDOption)
    assert plain.question[0].to_text() == "1.2.0.192.in-addr.arpa. IN PTR"
    assert plain.edns == -1


async def test_ids_differ_from_query_to_query(nano: Nano) -> None:
    for _ in range(8):
        await ask(nano)
    assert len({query.id for _, query in nano.queries}) > 1


async def test_nsid_and_extended_errors_are_reported(nano: Nano) -> None:
    def script(query: Query, _transport: str) -> list[bytes]:
        response = dns.message.make_response(query)
        options = [dns.edns.NSIDOption(b"fra1"), dns.edns.EDEOption(dns.edns.EDECode.NO_REACHABLE_AUTHORITY, "no way")]
        response.use_edns(0, payload=1400, options=list(options))
        response.set_rcode(dns.rcode.SERVFAIL)
        return [response.to_wire()]

    nano.script = script
    measured = await ask(nano, nsid=True, keep_message=True)
    report = measured.data
    assert measured.failure == failed(
        Code.NAME_FAILURE,
        "the server answered SERVFAIL, extended error 22 no reachable authority",
        stage="answer",
    )
    assert (report.nsid.hex, report.nsid.text) == (b"fra1".hex(), "fra1")
    assert [(one.code, one.name, one.text) for one in report.extended_errors] == [
        (22, "no reachable authority", "no way")
    ]
    assert (report.edns.version, report.edns.payload_bytes, report.edns.dnssec_ok) == (0, 1400, False)
    assert dns.message.from_wire(base64.b64decode(report.message)).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    ("rcode", "code"),
    [
        (dns.rcode.NXDOMAIN, Code.NAME_NOT_FOUND),
        (dns.rcode.SERVFAIL, Code.NAME_FAILURE),
        (dns.rcode.REFUSED, Code.NAME_FAILURE),
        (dns.rcode.FORMERR, Code.NAME_FAILURE),
    ],
)
async def test_a_negative_answer_is_a_failure_with_data_and_is_not_asked_again(
    nano: Nano, rcode: dns.rcode.Rcode, code: Code
) -> None:
    nano.script = lambda query, _: [answer(query, rcode=rcode)]
    measured = await ask(nano, retries=3)
    assert (measured.failure.code, measured.failure.blame) == (code, Blame.RESOLVER)
    assert (measured.data.rcode, measured.data.rcode_name) == (int(rcode), rcode.name)
    assert len(nano.queries) == 1


async def test_a_truncated_answer_is_asked_for_again_over_tcp(nano: Nano) -> None:
    def script(query: Query, transport: str) -> list[bytes]:
        if transport == "udp":
            return [answer(query, flags=dns.flags.TC)]
        return [answer(query, "60 A 192.0.2.1")]

    nano.script = script
    bench = Bench()
    report = (await ask(nano, bench=bench)).data
    assert (report.retried_over_tcp, report.truncated, report.transport) == (True, False, "tcp")
    assert [one.rdata for one in report.answers] == ["192.0.2.1"]
    assert [(one.transport, one.outcome) for one in report.attempts] == [("udp", "truncated"), ("tcp", "answer")]
    assert report.connect_ns > 0
    assert [event["kind"] for event in bench.events] == ["query", "truncated", "query", "answer"]


async def test_without_fallback_or_if_it_fails_the_truncated_answer_is_kept(nano: Nano) -> None:
    def script(query: Query, transport: str) -> list[bytes]:
        return [answer(query, "60 A 192.0.2.1", flags=dns.flags.TC)[:-2]] if transport == "udp" else []

    nano.script = script
    plain = await ask(nano, tcp_fallback=False)
    assert plain.failure is None
    assert (plain.data.truncated, plain.data.retried_over_tcp, plain.data.transport) == (True, False, "udp")
    failing = await ask(nano)
    assert (failing.failure.code, failing.failure.stage) == (Code.PROTOCOL, "query")
    assert (failing.data.truncated, failing.data.retried_over_tcp, failing.data.transport) == (True, True, "udp")
    assert failing.data.rcode == 0
    assert [one.outcome for one in failing.data.attempts] == ["truncated", "protocol"]


async def test_silence_is_a_timeout_after_every_retry(nano: Nano) -> None:
    nano.script = lambda _query, _transport: []
    started = monotonic_ns()
    measured = await ask(nano, timeout_ms=30, retries=2)
    assert monotonic_ns() - started >= 90_000_000
    assert (measured.failure.code, measured.failure.blame) == (Code.NAME_TIMEOUT, Blame.RESOLVER)
    assert [one.outcome for one in measured.data.attempts] == ["name-timeout"] * 3
    assert (measured.data.rcode, measured.data.query_ns, measured.data.answers) == (None, None, [])
    assert measured.stamps is None


async def test_an_answer_after_a_lost_query_counts_and_the_loss_is_told(nano: Nano) -> None:
    nano.script = lambda query, _: [answer(query)] if len(nano.queries) > 1 else []
    report = (await ask(nano, timeout_ms=400)).data
    assert [one.outcome for one in report.attempts] == ["name-timeout", "answer"]
    assert report.rcode == 0


async def test_answers_with_another_id_are_waited_past(nano: Nano) -> None:
    def script(query: Query, _transport: str) -> list[bytes]:
        right = answer(query, "60 A 192.0.2.1")
        forged = struct.pack("!H", query.id ^ 1) + answer(query, "60 A 203.0.113.9")[2:]
        return [forged, b"\0", forged, right]

    nano.script = script
    measured = await ask(nano)
    assert measured.failure is None
    assert [one.rdata for one in measured.data.answers] == ["192.0.2.1"]
    assert measured.data.attempts[0].ignored == 3


async def test_answers_from_another_port_are_not_even_seen(nano: Nano) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))

        def spoof(data: bytes, addr: tuple[Any, ...]) -> None:
            stranger.sendto(answer(dns.message.from_wire(data), "60 A 203.0.113.9"), addr)
            Nano.datagram_received(nano, data, addr)

        nano.datagram_received = spoof  # type: ignore[method-assign]
        nano.script = lambda query, _: [answer(query, "60 A 192.0.2.1")]
        measured = await ask(nano)
    assert [one.rdata for one in measured.data.answers] == ["192.0.2.1"]
    assert measured.data.attempts[0].ignored == 0


async def test_only_wrong_ids_end_as_a_timeout_that_says_so(nano: Nano) -> None:
    nano.script = lambda query, _: [struct.pack("!H", query.id ^ 1) + answer(query)[2:]]
    measured = await ask(nano, timeout_ms=50, retries=0)
    assert measured.failure == failed(
        Code.NAME_TIMEOUT, "no answer within 50 ms, only datagrams with another id: 1", stage="query"
    )


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("damage", "phrase"),
    [
        (lambda wire: wire[:2] + b"\xff" * 40, "another opcode"),
        (lambda wire: wire[:7], "shorter than a DNS header"),
        (lambda wire: wire[:2] + bytes([wire[2] & 0x7F]) + wire[3:], "a query, not an answer"),
        (lambda wire: wire[:13] + b"X" + wire[14:], "another question"),
        (lambda wire: wire[:12] + b"\xc0\x0c" + wire[14:], "cannot be parsed"),
        (lambda wire: wire[:10] + b"\xff\xff" + wire[12:], "cannot be parsed"),
        (lambda wire: wire + b"junk", "bytes follow"),
    ],
    ids=["opcode", "short", "query", "question", "loop", "counts", "trailing"],
)
async def test_a_malformed_answer_is_the_servers_fault_and_is_not_asked_again(
    nano: Nano, transport: str, damage: Callable[[bytes], bytes], phrase: str
) -> None:
    nano.script = lambda query, _: [damage(answer(query))]
    measured = await ask(nano, transport=transport)
    assert (measured.failure.code, measured.failure.blame) == (Code.PROTOCOL, Blame.TARGET)
    assert phrase in measured.failure.detail
    assert (measured.data.rcode, measured.data.id_match) == (None, None)
    assert [one.outcome for one in measured.data.attempts] == ["protocol"]


async def test_a_huge_answer_over_tcp_is_read_and_bounded(nano: Nano) -> None:
    nano.script = lambda query, _: [answer(query, *(f"60 TXT {'x' * 250}" for _ in range(230)))]
    measured = await ask(nano, transport="tcp", type="TXT")
    report = measured.data
    assert measured.failure is None
    assert report.message_bytes > 60_000
    assert (report.counts.answer, len(report.answers), report.records_cut) == (230, 100, True)
    assert (report.connect_ns > 0, report.query_ns > 0, report.handshake_ns) == (True, True, None)


@pytest.mark.parametrize(("sent", "words"), [(b"", "before it answered"), (b"\x01\x00abc", "within its answer")])
async def test_a_server_that_hangs_up_is_named(nano: Nano, sent: bytes, words: str) -> None:
    nano.framed = False
    nano.script = lambda _query, _transport: [sent]
    measured = await ask(nano, transport="tcp")
    assert measured.failure.code is Code.PROTOCOL
    assert words in measured.failure.detail


async def test_a_wrong_id_over_tcp_is_no_forgery_but_a_fault(nano: Nano) -> None:
    nano.script = lambda query, _: [struct.pack("!H", query.id ^ 1) + answer(query)[2:]]
    measured = await ask(nano, transport="tcp")
    assert measured.failure.code is Code.PROTOCOL
    assert "another id" in measured.failure.detail


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_closed_port_is_refused(transport: str) -> None:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as holder:
        # Bound, so that nobody else gets the port, and for a stream not listening.
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        if transport == "udp":
            holder.close()
        job = {"name": "a", "server": "127.0.0.1", "port": port, "transport": transport, "retries": 1}
        measured: Any = await Bench().run(FUNCTION, job)
    assert (measured.failure.code, measured.failure.blame) == (Code.REFUSED, Blame.TARGET)
    assert [one.outcome for one in measured.data.attempts] == ["refused", "refused"]


async def test_a_silent_server_opens_its_breaker_but_a_negative_answer_does_not(nano: Nano) -> None:
    bench = Bench()
    nano.script = lambda query, _: [answer(query, rcode=dns.rcode.NXDOMAIN)]
    for _ in range(6):
        assert (await ask(nano, bench=bench, timeout_ms=200, retries=0)).failure.code is Code.NAME_NOT_FOUND
    nano.script = lambda _query, _transport: []
    codes = [(await ask(nano, bench=bench, timeout_ms=200, retries=0)).failure.code for _ in range(6)]
    assert codes == [Code.NAME_TIMEOUT] * 5 + [Code.BREAKER_OPEN]


async def test_the_jobs_deadline_ends_the_attempts_early(nano: Nano) -> None:
    nano.script = lambda _query, _transport: []
    measured = await ask(nano, bench=Bench(deadline=0.3), timeout_ms=30_000, retries=5)
    assert measured.failure.code is Code.EXPIRED
    assert len(measured.data.attempts) == 1


async def test_a_server_that_the_node_refuses_is_not_asked(nano: Nano) -> None:
    bench = Bench(policy=lambda address: failed(Code.TARGET_DENIED, address))
    measured = await ask(nano, bench=bench)
    assert measured.failure == failed(Code.TARGET_DENIED, "127.0.0.1")
    assert nano.queries == []


async def test_a_cancelled_job_leaves_nothing_behind(nano: Nano) -> None:
    arrived = asyncio.Event()

    def script(_query: Query, _transport: str) -> list[bytes]:
        arrived.set()
        return []

    nano.script = script
    async with asyncio.TaskGroup() as group:
        job = group.create_task(ask(nano, timeout_ms=30_000))
        async with asyncio.timeout(5):
            await arrived.wait()
        job.cancel()
    assert job.cancelled()


async def test_without_kernel_stamps_the_result_says_user(nano: Nano, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernelstamps, "enable", lambda _sock, **_options: Stamps(tx="user", rx="user"))
    measured = await ask(nano)
    assert measured.stamps == Stamps(tx="user", rx="user")
    assert measured.data.query_ns > 0


async def test_the_nodes_own_servers_are_asked_in_turn(
    nano: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.3\nnameserver 127.0.0.1\n")
    monkeypatch.setattr(servers, "RESOLV_CONF", str(conf))
    measured = await ask(nano, server="system")
    assert measured.failure is None
    assert (measured.target, measured.address) == ("system", "127.0.0.1")
    assert [(one.server, one.outcome) for one in measured.data.attempts] == [
        ("127.0.0.3", "refused"),
        ("127.0.0.1", "answer"),
    ]
    refusal = failed(Code.TARGET_DENIED, "no")
    choosy = Bench(policy=lambda address: refusal if address == "127.0.0.3" else None)
    assert [one.server for one in (await ask(nano, bench=choosy, server="system")).data.attempts] == ["127.0.0.1"]
    assert (await ask(nano, bench=Bench(policy=lambda _: refusal), server="system")).failure == refusal
    assert (await ask(nano, server="system", family="6")).failure.code is Code.NO_ADDRESS_FAMILY


async def test_a_node_without_a_resolver_cannot_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "RESOLV_CONF", str(tmp_path / "none"))
    with pytest.raises(CannotMeasure, match="no name server"):
        await Bench().run(FUNCTION, {"name": "a"})
