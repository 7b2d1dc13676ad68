"""One request and its response on one connection, with the time of each phase."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from http_probe import certificates, connection, headers
from http_probe.certificates import Tls
from http_probe.connection import Handler, OneConnection, Spent
from http_probe.headers import Header
from runtime.sdk import Code, Failure, Report, failed, monotonic_ns, socket_failure

Stage = Literal["resolve", "connect", "tls", "request", "first-byte", "download"]

_MOST_LINE = 8_192
_MOST_FIELD = 16_384
_NO_BODY = {204, 304}
_REDIRECTS = {301, 302, 303, 307, 308}


class Timings(Report, frozen=True):
    """Nanoseconds of each phase of one request; None if it did not come or not end. `total_ns` is all of them."""

    resolve_ns: int | None
    connect_ns: int | None
    tls_ns: int | None
    request_ns: int | None
    first_byte_ns: int | None
    download_ns: int | None
    total_ns: int


@dataclass(slots=True, eq=False)
class Hop:
    """One request, and what is known of it so far. `stage` is the phase under way, `at` when it began."""

    url: URL
    began: int = field(default_factory=monotonic_ns)
    stage: Stage = "resolve"
    at: int = 0
    phases: dict[Stage, int] = field(default_factory=dict)
    total_ns: int = 0
    address: str | None = None
    status: int | None = None
    reason: str | None = None
    http_version: str | None = None
    fields: list[Header] = field(default_factory=list)
    fields_cut: bool = False
    header_bytes: int | None = None
    content_length: int | None = None
    location: str | None = None
    body_bytes: int | None = None
    body_sha256: str | None = None
    truncated: bool = False
    tls: Tls | None = None
    failure: Failure | None = None

    def enter(self, stage: Stage, at: int | None = None) -> None:
        """Begin a phase, and end the one before it."""
        now = monotonic_ns() if at is None else at
        if self.at:
            self.phases[self.stage] = now - self.at
        self.stage, self.at = stage, now

    def end(self) -> None:
        """End the last phase, and the request."""
        self.enter(self.stage)
        self.stop()

    def stop(self) -> None:
        """End the request within a phase, which then has no duration."""
        self.total_ns = self.total_ns or monotonic_ns() - self.began

    def timings(self) -> Timings:
        """What the report says about the time."""
        phase = self.phases.get
        return Timings(
            resolve_ns=phase("resolve"),
            connect_ns=phase("connect"),
            tls_ns=phase("tls"),
            request_ns=phase("request"),
            first_byte_ns=phase("first-byte"),
            download_ns=phase("download"),
            total_ns=self.total_ns,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, and how much of the answer to read. `follow`: a redirect will be followed, so its body is not read."""

    method: str
    fields: Mapping[str, str]
    verify: bool
    most_body_bytes: int
    follow: bool


async def exchange(
    hop: Hop, request: Request, sockaddr: tuple[Any, ...], progress: Callable[[dict[str, Any]], None]
) -> None:
    """Connect, ask, and read the answer. What fails is told by `hop.failure`; a cancelled one keeps what it has."""
    # Made ready while the clock stands: these take as long as a request on a quick path.
    pause = monotonic_ns()
    tls = None
    if hop.url.scheme == "https":
        tls = (connection.tls_context(verify=request.verify), (hop.url.raw_host or "").rstrip("."))
    connector = OneConnection()
    transport: asyncio.Transport | None = None
    handler: Handler | None = None
    async with _session(connector) as session:
        hop.began += monotonic_ns() - pause
        try:
            hop.enter("connect")
            sock = await connection.connect(sockaddr)
            hop.enter("request" if tls is None else "tls")
            progress({"kind": "connected", "connect_ns": hop.phases["connect"]})
            transport, handler = await connection.take_over(sock, tls)
            if tls is not None:
                hop.enter("request")
                hop.tls = certificates.describe(
                    transport.get_extra_info("ssl_object"), verified=True if request.verify else None
                )
                progress({"kind": "tls", "tls_ns": hop.phases["tls"], "version": hop.tls.version})
                hop.at = monotonic_ns()
            connector.handler = handler
            await _ask(hop, request, session, handler, progress)
        except aiohttp.ClientError as error:
            hop.failure = _classified(hop, error, handler)
        except OSError as error:
            hop.failure = socket_failure(error, stage=hop.stage)
        finally:
            _note_phases(hop, handler)
            if transport is not None:
                # Nothing more is wanted, and a polite end of TLS would wait for the peer.
                transport.abort()


def _session(connector: OneConnection) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        max_line_size=_MOST_LINE,
        max_field_size=_MOST_FIELD,
    )


async def _ask(
    hop: Hop,
    request: Request,
    session: aiohttp.ClientSession,
    handler: Handler,
    progress: Callable[[dict[str, Any]], None],
) -> None:
    async with session.request(request.method, hop.url, headers=request.fields, allow_redirects=False) as response:
        _note_phases(hop, handler)
        _note_head(hop, response)
        progress({"kind": "response", "status": hop.status, "first_byte_ns": hop.phases.get("first-byte")})
        if request.follow and hop.location is not None:
            hop.stop()
            return
        await _read_body(hop, request, response)
        hop.end()
    progress({"kind": "done", "body_bytes": hop.body_bytes, "truncated": hop.truncated, "total_ns": hop.total_ns})


def _note_phases(hop: Hop, handler: Handler | None) -> None:
    """Take over the moments that only the protocol saw, once each."""
    if handler is None:
        return
    if hop.stage == "request" and handler.sent_at is not None:
        hop.enter("first-byte", handler.sent_at)
    if hop.stage == "first-byte" and handler.first_byte_at is not None:
        early = handler.first_byte_at < hop.at
        hop.enter("download", max(hop.at, handler.first_byte_at))
        if early:
            # The server spoke before it was asked, so there was no waiting to be measured.
            del hop.phases["first-byte"]


def _note_head(hop: Hop, response: aiohttp.ClientResponse) -> None:
    version = response.version
    hop.status = response.status
    hop.reason = (response.reason or "")[:128]
    hop.http_version = None if version is None else f"{version.major}.{version.minor}"
    hop.fields, hop.fields_cut = headers.to_show(response.raw_headers)
    hop.header_bytes = headers.size(response.raw_headers)
    hop.content_length = response.content_length
    if response.status in _REDIRECTS:
        hop.location = response.headers.get("Location")


async def _read_body(hop: Hop, request: Request, response: aiohttp.ClientResponse) -> None:
    if request.method == "HEAD" or response.status in _NO_BODY:
        return
    hop.body_bytes = 0
    digest = hashlib.sha256()
    async for chunk in response.content.iter_any():
        room = request.most_body_bytes - hop.body_bytes
        hop.body_bytes += min(len(chunk), room)
        if len(chunk) > room:
            hop.truncated = True
            return
        digest.update(chunk)
    hop.body_sha256 = digest.hexdigest()


def _classified(hop: Hop, error: aiohttp.ClientError, handler: Handler | None) -> Failure:
    """Say what went wrong after the connection stood. The texts hold nothing that the server sent."""
    _note_phases(hop, handler)
    if handler is not None and isinstance(handler.lost, OSError):
        return socket_failure(handler.lost, stage=hop.stage)
    if any(isinstance(cause, LineTooLong) for cause in _causes(error)):
        return failed(Code.TOO_LARGE, "a line or field of the response's head is too long", stage=hop.stage)
    if any("Too many headers" in str(cause) for cause in _causes(error)):
        return failed(Code.TOO_LARGE, "the response has too many header fields", stage=hop.stage)
    if isinstance(error, aiohttp.ClientPayloadError):
        detail = "the body ended early" if handler is not None and handler.ended else "the body is not well-formed"
        return failed(Code.PROTOCOL, detail, stage=hop.stage)
    if isinstance(error, Spent | aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        nothing = handler is None or handler.first_byte_at is None
        words = "without an answer" if nothing else "within the head of its answer"
        return failed(Code.PROTOCOL, f"the server closed the connection {words}", stage=hop.stage)
    return failed(Code.PROTOCOL, "the answer is not well-formed HTTP", stage=hop.stage)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(found) < 10:
        found.append(link)
        link = link.__cause__ or link.__context__
    return found
