"""Real requests to a tiny HTTP server on loopback, well-behaved and not."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from http_probe import measure
from runtime.sdk import Blame, Code, Function, failed, monotonic_ns
from runtime.sdk.testing import Bench

FUNCTION = Function.load(measure)
IPV6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this host has no IPv6")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Nano:
    """An HTTP server that answers by path: bytes, or a coroutine that writes. It notes the heads of requests."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Script] = {"/": OK}
        self.heads: list[str] = []
        self.port = 0
        self.stopping = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            page = self.pages[head.split()[1].decode()]
            if isinstance(page, bytes):
                writer.write(page)
            else:
                await page(reader, writer)
        writer.close()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
async def nano() -> AsyncIterator[Nano]:
    server = Nano()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    server.stopping.set()
    listener.close()
    await listener.wait_closed()


async def probe(url: str, *, bench: Bench | None = None, **params: Any) -> Any:
    return await (bench or Bench()).run(FUNCTION, {"url": url, "timeout_ms": 5000, **params})


def redirect(location: str, status: str = "302 Found") -> bytes:
    return f"HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_page_is_reported_with_the_time_of_each_phase(nano: Nano) -> None:
    bench = Bench()
    measured = await probe(nano.url(), bench=bench)
    report = measured.data
    assert measured.failure is None
    assert (measured.target, measured.address) == (nano.url(), "127.0.0.1")
    assert (report.url, report.address, report.port) == (nano.url(), "127.0.0.1", nano.port)
    assert (report.status, report.reason, report.http_version) == (200, "OK", "1.1")
    assert (report.body_bytes, report.content_length, report.truncated) == (5, 5, False)
    assert report.body_sha256 == hashlib.sha256(b"hello").hexdigest()
    assert [(one.name, one.value) for one in report.headers] == [("Content-Length", "5")]
    assert report.header_bytes == len("Content-Length: 5\r\n")
    timings = report.timings
    assert (timings.resolve_ns, timings.tls_ns, report.tls) == (None, None, None)
    phases = [timings.connect_ns, timings.request_ns, timings.first_byte_ns, timings.download_ns]
    assert all(phase > 0 for phase in phases)
    assert sum(phases) <= timings.total_ns == report.total_ns < 5_000_000_000
    assert [event["kind"] for event in bench.events] == ["resolved", "connected", "response", "done"]


async def test_the_request_holds_what_was_asked_for_and_the_name_as_host(nano: Nano) -> None:
    nano.pages["/a?b=c"] = OK
    headers = {"X-One": "1", "user-agent": "me"}
    measured = await probe(nano.url("/a?b=c#top", "localhost"), headers=headers, family="4")
    assert measured.data.timings.resolve_ns > 0
    first, *fields = nano.heads[0].split("\r\n")
    assert first == "GET /a?b=c HTTP/1.1"
    assert {field.lower() for field in fields if field} == {
        f"host: localhost:{nano.port}",
        "x-one: 1",
        "user-agent: me",
        "accept: */*",
        "accept-encoding: identity",
        "connection: close",
    }


async def test_a_fixed_address_is_used_for_the_host_and_never_looked_up(nano: Nano) -> None:
    asked: list[str] = []
    bench = Bench(policy=asked.append)
    nano.pages["/"] = redirect("/next")
    nano.pages["/next"] = OK
    measured = await probe(nano.url("/", "no.such.invalid"), bench=bench, address="127.0.0.1", max_redirects=1)
    assert measured.failure is None
    assert measured.data.address == "127.0.0.1"
    assert asked == ["127.0.0.1", "127.0.0.1"]
    assert f"Host: no.such.invalid:{nano.port}" in nano.heads[1]
    wrong = await probe(nano.url(), address="127.0.0.1", family="6")
    assert wrong.failure.code is Code.BAD_PARAMS


@IPV6
async def test_a_literal_ipv6_address_is_connected_to() -> None:
    nano = Nano()
    listener = await asyncio.start_server(nano.serve, "::1", 0)
    measured = await probe(f"http://[::1]:{listener.sockets[0].getsockname()[1]}/")
    assert (measured.failure, measured.data.address, measured.data.status) == (None, "::1", 200)
    listener.close()
    await listener.wait_closed()


async def test_head_reads_no_body(nano: Nano) -> None:
    nano.pages["/"] = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    report = (await probe(nano.url(), method="HEAD")).data
    assert (report.status, report.content_length, report.body_bytes, report.body_sha256) == (200, 999, None, None)


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "302 Found"])
async def test_any_status_is_a_result_unless_another_was_expected(nano: Nano, status: str) -> None:
    nano.pages["/"] = redirect("/", status)
    assert (await probe(nano.url())).failure is None
    assert (await probe(nano.url(), expect_status=[int(status[:3])])).failure is None
    measured = await probe(nano.url(), expect_status=[200, 204])
    assert measured.failure == failed(Code.PROTOCOL, f"the status is {status[:3]}, not 200, 204", stage="status")
    assert measured.data.status == int(status[:3])


async def test_redirects_are_followed_with_times_of_their_own_and_the_policy_sees_each(nano: Nano) -> None:
    nano.pages |= {"/": redirect(nano.url("/b", "localhost")), "/b": redirect("c?x=1", "307 x"), "/c?x=1": OK}
    asked: list[str] = []
    bench = Bench(policy=asked.append)
    measured = await probe(nano.url(), bench=bench, max_redirects=2, family="4", headers={"X-Api": "k", "Accept": "a"})
    report = measured.data
    assert measured.failure is None
    assert (report.status, report.url) == (200, nano.url("/c?x=1", "localhost"))
    assert [(one.url, one.status, one.location) for one in report.redirects] == [
        (nano.url(), 302, nano.url("/b", "localhost")),
        (nano.url("/b", "localhost"), 307, nano.url("/c?x=1", "localhost")),
    ]
    assert all(one.timings.total_ns > 0 and one.timings.download_ns is None for one in report.redirects)
    assert report.total_ns == report.timings.total_ns + sum(one.timings.total_ns for one in report.redirects)
    assert asked == ["127.0.0.1"] * 3
    assert "X-Api" in nano.heads[0]
    assert not any("X-Api" in head for head in nano.heads[1:]), "another host must not see it"
    assert all("Accept: a\r\n" in head for head in nano.heads)


async def test_a_redirect_to_a_refused_address_is_not_followed(nano: Nano) -> None:
    refusal = failed(Code.TARGET_DENIED, "no")
    bench = Bench(policy=lambda address: refusal if address == "127.0.0.9" else None)
    nano.pages["/"] = redirect(nano.url("/", "127.0.0.9"))
    measured = await probe(nano.url(), bench=bench, max_redirects=5)
    assert measured.failure == refusal
    assert len(nano.heads) == 1
    assert (measured.data.status, measured.data.redirects[0].status) == (None, 302)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/", "more than 3 redirects"),
        ("ftp://127.0.0.1/", "must begin with http"),
        ("https:///x", "host name"),
        ("http://[", "well-formed"),
        ("//127.0.0.1:99999/", "well-formed"),
        ("x" * 3000, "longer than"),
    ],
)
async def test_redirects_that_loop_or_lead_nowhere_are_the_servers_fault(nano: Nano, location: str, words: str) -> None:
    nano.pages["/"] = redirect(location)
    measured = await probe(nano.url(), max_redirects=3)
    assert (measured.failure.code, measured.failure.stage) == (Code.PROTOCOL, "redirect")
    assert words in measured.failure.detail
    assert measured.data.status == 302


async def test_secrets_that_a_server_sends_are_not_shown(nano: Nano) -> None:
    secret = "hunter2"
    location = nano.url(f"/next?token={secret}", f"joe:{secret}@127.0.0.1")
    nano.pages[f"/next?token={secret}"] = (
        f"HTTP/1.1 302 x\r\nSet-Cookie: a={secret}\r\nLink: <http://u:{secret}@h/>\r\n"
        f"Location: {location}\r\nWWW-Authenticate: Digest nonce={secret}\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    nano.pages["/"] = nano.pages[f"/next?token={secret}"]
    bench = Bench()
    measured = await probe(nano.url(), bench=bench, max_redirects=1)
    assert measured.failure.stage == "redirect"
    assert "Authorization" not in nano.heads[1]
    told = json.dumps([msgspec.to_builtins(measured), bench.events, bench.logs])
    assert secret not in told
    assert "joe" not in told
    assert {one.name: one.value for one in measured.data.headers}["Set-Cookie"] == "[redacted]"


async def test_a_body_over_the_limit_is_cut_and_a_failure_only_if_wanted(nano: Nano) -> None:
    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(bytes(65_536))
            await writer.drain()

    nano.pages["/"] = endless
    measured = await probe(nano.url(), max_body_bytes=100_000)
    assert measured.failure is None
    report = measured.data
    assert (report.body_bytes, report.truncated, report.body_sha256) == (100_000, True, None)
    strict = await probe(nano.url(), max_body_bytes=0, body_limit_fails=True)
    assert (strict.failure.code, strict.data.body_bytes) == (Code.TOO_LARGE, 0)


async def test_a_body_of_just_the_limit_is_whole(nano: Nano) -> None:
    report = (await probe(nano.url(), max_body_bytes=5)).data
    assert (report.truncated, report.body_bytes) == (False, 5)


async def test_a_compressed_body_is_not_unpacked(nano: Nano) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    nano.pages["/"] = head.encode() + bomb
    report = (await probe(nano.url())).data
    assert (report.body_bytes, report.body_sha256) == (len(bomb), hashlib.sha256(bomb).hexdigest())


async def test_a_chunked_body_is_counted_without_its_frame(nano: Nano) -> None:
    nano.pages["/"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    report = (await probe(nano.url())).data
    assert (report.body_bytes, report.content_length) == (5, None)


async def test_a_body_that_drips_ends_at_the_limit_with_what_is_known(nano: Nano) -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        await nano.stopping.wait()

    nano.pages["/"] = drip
    started = monotonic_ns()
    measured = await probe(nano.url(), timeout_ms=500)
    assert monotonic_ns() - started < 3_000_000_000
    assert (measured.failure.code, measured.failure.stage) == (Code.TIMEOUT, "download")
    report = measured.data
    assert (report.status, report.body_bytes, report.body_sha256) == (200, 3, None)
    assert report.timings.first_byte_ns > 0
    assert report.timings.download_ns is None
    assert report.timings.total_ns >= 400_000_000


async def test_a_silent_server_is_a_timeout_waiting_for_the_first_byte(nano: Nano) -> None:
    async def silence(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await nano.stopping.wait()

    nano.pages["/"] = silence
    measured = await probe(nano.url(), timeout_ms=300)
    assert (measured.failure.code, measured.failure.blame) == (Code.TIMEOUT, Blame.TARGET)
    assert measured.failure.stage == "first-byte"
    assert (measured.data.status, measured.data.timings.first_byte_ns) == (None, None)
    assert measured.data.timings.request_ns > 0
    cut = await probe(nano.url(), bench=Bench(deadline=0.6))
    assert (cut.failure.code, cut.failure.stage) == (Code.EXPIRED, "first-byte")


async def test_a_dead_target_opens_its_breaker_and_an_unwanted_answer_does_not(nano: Nano) -> None:
    bench = Bench()
    for _ in range(6):
        assert (await probe(nano.url(), bench=bench, expect_status=[418])).failure.code is Code.PROTOCOL
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        codes = [(await probe(url, bench=bench)).failure.code for _ in range(6)]
    assert codes == [Code.REFUSED] * 5 + [Code.BREAKER_OPEN]


async def test_a_reset_is_told_apart_from_a_polite_end(nano: Nano) -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    nano.pages |= {"/": reset, "/eof": b"", "/part": b"HTTP/1.1 200 OK\r\nServ", "/body": OK[:-2]}
    got = {path: await probe(nano.url(path)) for path in nano.pages}
    assert {path: (one.failure.code, one.failure.stage) for path, one in got.items()} == {
        "/": (Code.RESET, "first-byte"),
        "/eof": (Code.PROTOCOL, "first-byte"),
        "/part": (Code.PROTOCOL, "download"),
        "/body": (Code.PROTOCOL, "download"),
    }
    assert "without an answer" in got["/eof"].failure.detail
    assert (got["/body"].data.body_bytes, got["/body"].data.body_sha256) == (3, None)
    assert len(nano.heads) == 4, "a lost request must not be sent again"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", Code.PROTOCOL),
        (b"\x00\xff" * 50, Code.PROTOCOL),
        (b"HTTP/1.1 abc\r\n\r\n", Code.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Code.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Code.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", Code.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Code.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", Code.TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000 + b"\r\n", Code.TOO_LARGE),
        (b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\n", Code.TOO_LARGE),
    ],
    ids=["ssh", "noise", "status", "field", "negative", "two-lengths", "chunk", "long-field", "many-fields", "reason"],
)
async def test_what_is_no_http_is_the_servers_fault(nano: Nano, answer: bytes, code: Code) -> None:
    nano.pages["/"] = answer
    measured = await probe(nano.url())
    assert (measured.failure.code, measured.failure.blame) == (code, Blame.TARGET)
    assert measured.failure.stage == "download"
    assert "aaa" not in measured.failure.detail
    assert measured.data.timings.first_byte_ns > 0


async def test_many_and_long_fields_are_bounded_in_the_report(nano: Nano) -> None:
    fields = "".join(f"X-{n}: {'v' * 2000}\r\n" for n in range(80))
    nano.pages["/"] = f"HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n".encode()
    report = (await probe(nano.url())).data
    assert (len(report.headers), len(report.headers[0].value), report.headers_cut) == (64, 1024, True)
    assert report.header_bytes == len(fields) + len("Content-Length: 0\r\n")


async def test_interim_answers_are_passed_over(nano: Nano) -> None:
    nano.pages["/"] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + OK
    assert (await probe(nano.url())).data.status == 200


async def test_a_name_that_does_not_exist_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_args: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "made up")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    measured = await probe("http://nowhere.example/?token=x")
    assert (measured.failure.code, measured.data) == (Code.NAME_NOT_FOUND, None)
    assert measured.target == "http://nowhere.example/?token=hidden"


async def test_an_address_the_node_refuses_is_not_connected_to(nano: Nano) -> None:
    measured = await probe(nano.url(), bench=Bench(policy=lambda address: failed(Code.TARGET_DENIED, address)))
    assert measured.failure == failed(Code.TARGET_DENIED, "127.0.0.1")
    assert nano.heads == []


async def test_a_cancelled_job_hangs_up(nano: Nano) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        gone.set()

    nano.pages["/"] = wait
    async with asyncio.TaskGroup() as group:
        job = group.create_task(probe(nano.url()))
        async with asyncio.timeout(5):
            await arrived.wait()
        job.cancel()
    assert job.cancelled()
    async with asyncio.timeout(5):
        await gone.wait()
