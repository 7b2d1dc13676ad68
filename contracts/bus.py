"""A connection to NATS as mmn uses it: JWT by callbacks, own inboxes, reconnects for ever.

The first connection must succeed or raise, so wrong credentials are told at once. After
that the client never gives up: it reconnects after restarts of the server, with whatever JWT
the credentials hold by then. Permission errors are asynchronous in NATS, so they are kept in
`Bus.denied`, logged, and `settle()` raises when a subscription was refused. `renew()` replaces the connection
by one with the newest JWT before the old one is given up.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import nats.errors
import nkeys
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.client import JetStreamContext

from contracts import clock
from contracts.client import RECONNECT_WAIT_S, Client, Listening
from contracts.errors import MmnError, Unavailable
from contracts.replies import Replies
from contracts.subjects import REPLY_FROM_MANAGE

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 8
"""Longer than a resolver waits before it asks anew (resolv.conf(5): 5 s): a lost question is no lost connection."""
MAX_PENDING_BYTES = 32 * 1024 * 1024
"""What may wait to be sent."""
MOST_WAITING = 8192
MOST_WAITING_BYTES = 64 * 1024 * 1024
"""What may wait in one subscription; the library's own limits are half a million messages and 128 MiB."""
_TELL_EVERY_NS = 1_000_000_000
_REPLY_TO_MANAGE = REPLY_FROM_MANAGE.lower()
"""Error texts of nats-py are in lower case."""
_JWT = re.compile(r"-----BEGIN NATS USER JWT-----\s+(\S+)\s+-+END NATS USER JWT-+")
_SEED = re.compile(r"-----BEGIN USER NKEY SEED-----\s+(\S+)\s+-+END USER NKEY SEED-+")


class CannotConnect(Unavailable):
    """The first connection failed. The message holds the address and the reason."""


class PermissionDenied(MmnError):
    """The server refused a subject that this identity needs: roles and code disagree."""


class Credentials(Protocol):
    """An identity: its current JWT, and a way to sign the server's nonce."""

    def jwt(self) -> str:
        """The newest user JWT; asked again at every (re)connect."""
        ...

    def sign(self, nonce: bytes) -> bytes:
        """The raw Ed25519 signature of the nonce."""
        ...


class KeyCredentials:
    """Credentials in memory. Assign `token` to renew; the next connection uses it."""

    def __init__(self, token: str, key: nkeys.KeyPair) -> None:
        self.token = token
        self._key = key

    def jwt(self) -> str:
        return self.token

    def sign(self, nonce: bytes) -> bytes:
        return bytes(self._key.sign(nonce))


class FileCredentials:
    """A `.creds` file, read again at every connection, so that replacing the file renews."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._good = self._read()

    def _newest(self) -> tuple[str, str]:
        # A file that is gone or half written at a reconnect must not end the reconnecting.
        try:
            self._good = self._read()
        except CannotConnect as error:
            log.warning("credentials not read again", error=str(error))
        return self._good

    def _read(self) -> tuple[str, str]:
        try:
            text = self.path.read_text()
        except OSError as error:
            raise CannotConnect(f"cannot read the credentials {self.path}: {error.strerror}") from error
        token, seed = _JWT.search(text), _SEED.search(text)
        if token is None or seed is None:
            raise CannotConnect(f"{self.path} is not a NATS credentials file")
        try:
            nkeys.from_seed(bytearray(seed[1].encode()))
        except (nkeys.NkeysError, ValueError) as error:
            raise CannotConnect(f"{self.path} holds no seed of a user key") from error
        return token[1], seed[1]

    def jwt(self) -> str:
        return self._newest()[0]

    def sign(self, nonce: bytes) -> bytes:
        return bytes(nkeys.from_seed(bytearray(self._newest()[1].encode())).sign(nonce))


class Bus:
    """One identity's connection. `nc` is the client, `js` its JetStream context; `renew` replaces both."""

    def __init__(self, identity: str, opened: Callable[[Bus, Client], Awaitable[None]]) -> None:
        self.identity = identity
        self.nc = nc = Client()
        self._opened = opened
        self._listening: set[Listening] = set()
        self.js: JetStreamContext = nc.jetstream(timeout=5.0)
        self.denied: deque[str] = deque(maxlen=100)
        self.reconnects = 0
        self._dropped = 0
        self._told_ns = 0
        self.closed = asyncio.Event()
        self._on_reconnect: list[Callable[[], None]] = []
        self._replies: Replies | None = None
        self._opening = asyncio.Lock()
        self._moving = asyncio.Lock()

    async def renew(self, *, within: float = 600.0) -> None:
        """Move to a new connection with the newest JWT, without a moment on none. Raises CannotConnect.

        For a while both listen: members of a queue group get each message once, others may get it twice, so this is
        not for connections that pull. Answers go out on the connection that the question came on, which is kept
        until they have, for `within` seconds at most.
        """
        fresh = Client()
        await self._opened(self, fresh)
        # What begins to listen meanwhile must not be left behind on the old one.
        async with self._moving:
            try:
                begun = [(one, await one.begin(fresh)) for one in list(self._listening)]
                await fresh.flush()
            except nats.errors.Error as error:
                await fresh.abandon()
                raise CannotConnect(f"the new connection of {self.identity} ended at once: {error}") from error
            old, self.nc, self.js = self.nc, fresh, fresh.jetstream(timeout=5.0)
            leaving = [one.move(to) for one, to in begun]
        log.info("connection renewed")
        for subscription in leaving:
            with contextlib.suppress(nats.errors.Error):
                await subscription.drain()
        self._dropped += old.unreadable
        await old.retire(within=within)

    async def listen(self, subject: str, callback: Callable[[Msg], None], *, queue: str = "") -> Listening:
        """Subscribe with a plain function, called in the reading of the connection itself: it must be short.

        What it raises is logged. Unlike the library's callbacks, nothing queues before it.
        """
        return await self._listen(lambda nc: nc.hear(subject, callback, queue=queue))

    async def _listen(self, begin: Callable[[Client], Awaitable[Subscription]]) -> Listening:
        async with self._moving:
            listening = Listening(begin, await begin(self.nc), self._listening.discard)
            self._listening.add(listening)
        return listening

    async def replies(self) -> Replies:
        """The inbox for answers; opened at its first use."""
        if self._replies is None:
            async with self._opening:
                if self._replies is None:
                    replies = Replies(self.nc.new_inbox())
                    await self.listen(f"{replies.inbox}.*", replies.arrived)
                    self._replies = replies
        return self._replies

    async def request(
        self, subject: str, data: bytes = b"", *, within: float, headers: Mapping[str, str] | None = None
    ) -> Msg:
        """Ask and wait for one answer. Raises nats.errors: NoRespondersError, TimeoutError, and what publish raises."""
        replies = self._replies or await self.replies()
        expected = replies.expect()
        try:
            await self.nc.publish(subject, data, reply=expected.subject, headers=dict(headers) if headers else None)
            msg = await expected.within(within)
        finally:
            expected.close()
        if msg.headers and msg.headers.get("Status") == "503":
            raise nats.errors.NoRespondersError
        return msg

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call back after every reconnection; what was missed meanwhile must be asked for again."""
        self._on_reconnect.append(callback)

    @property
    def dropped(self) -> int:
        """Messages lost at this connection: they came faster than they were taken, or could not be sent or read."""
        return self._dropped + self.nc.unreadable

    async def subscribe(
        self, subject: str, take: Callable[[Msg], Awaitable[None]], *, queue: str = "", most: int = MOST_WAITING
    ) -> Listening:
        """Call `take` with one message at a time. More than `most` that wait are dropped, counted and logged.

        For what people and workers send as they like; answers and deliveries come by `listen`, and are never dropped.
        """
        return await self._listen(
            lambda nc: nc.subscribe(
                subject,
                queue=queue,
                cb=take,
                pending_msgs_limit=most,
                pending_bytes_limit=MOST_WAITING_BYTES,
            )
        )

    async def flush(self) -> None:
        """Wait until the server has taken everything sent so far, and told what it refused of it."""
        # The library writes its PING past what still waits to be written, so that goes out first.
        await self.nc._flush_pending(force_flush=True)
        await self.nc.flush()

    async def settle(self) -> None:
        """Wait until the server has seen every subscription; raise PermissionDenied if it refused one."""
        await self.flush()
        # A refused publish may be an answer to a subject that a stranger chose: it must not keep us from starting.
        if refused := [text for text in self.denied if "violation for subscription" in text.lower()]:
            raise PermissionDenied(f"{self.identity} may not use: {'; '.join(refused)}")

    async def publish(self, subject: str, data: bytes, *, media: str | None = None) -> None:
        """Publish and do not wait; dropped with a log line when the connection cannot take more."""
        try:
            await self.nc.publish(subject, data, headers={"Content-Type": media} if media else None)
        except nats.errors.OutboundBufferLimitError:
            self._drop(subject, "outbound buffer is full")
        except nats.errors.MaxPayloadError:
            self._drop(subject, f"{len(data)} bytes are over the server's limit")

    def _drop(self, subject: str, reason: str) -> None:
        self._dropped += 1
        now = clock.monotonic_ns()
        # One line for many: whoever is flooded must not flood the logs.
        if now - self._told_ns > _TELL_EVERY_NS:
            self._told_ns = now
            log.warning("messages dropped", subject=subject, reason=reason, dropped=self.dropped)

    async def failed(self) -> None:
        """Wait until the connection is closed for good, then raise Unavailable."""
        await self.closed.wait()
        raise Unavailable(f"the connection of {self.identity} to NATS was closed: {self.nc.last_error or 'no reason'}")

    async def drain(self, *, within: float = 5.0) -> None:
        """Deliver what is pending both ways, then close. Never hangs, also when the server has frozen."""
        await self.nc.leave(within=within)

    async def _error(self, error: Exception) -> None:
        text = str(error)
        if "permissions violation" in text.lower() and f'"{_REPLY_TO_MANAGE}' in text.lower():
            # The right to answer ends with the connection the question came on.
            log.info("answer came too late", error=text)
        elif "permissions violation" in text.lower():
            self.denied.append(text)
            log.error("permission denied", error=text)
        elif isinstance(error, nats.errors.SlowConsumerError):
            self._drop(error.subject, "messages came faster than they were taken")
        else:
            log.info("nats error", error=text or type(error).__name__)

    async def _disconnected(self) -> None:
        log.info("disconnected from NATS", reason=self.nc.interruption)

    async def _reconnected(self) -> None:
        self.reconnects += 1
        log.info("reconnected to NATS", reconnects=self.reconnects)
        for callback in self._on_reconnect:
            try:
                callback()
            except Exception:
                log.exception("a reconnection was not followed up")

    async def _closed(self) -> None:
        self.closed.set()


def read_ca(path: Path | None) -> str | None:
    """The text of a file of certificate authorities, or None without one. Raises CannotConnect."""
    try:
        return path.read_text() if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise CannotConnect(f"cannot read the certificate authority {path}: {error}") from error


def tls_context(url: str, ca: str | None) -> ssl.SSLContext | None:
    """What to check a `tls://` server by, TLS 1.3 and nothing older; None for a plain `nats://` one.

    `ca` holds the authorities to believe, in PEM; None: the system's. Raises CannotConnect: an authority
    beside a plain address is a mistake, and would leave the connection open to everybody.
    """
    schemes = {part.strip().partition("://")[0] for part in url.split(",")}
    if schemes != {"tls"}:
        if ca is not None or "tls" in schemes:
            raise CannotConnect(f"{url} must begin with tls:// throughout, since a certificate is to be checked")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=ca)
    except ssl.SSLError as error:
        raise CannotConnect(f"the certificate authority cannot be used: {error}") from error
    return context


async def connect(
    url: str, credentials: Credentials, *, identity: str, inbox: str, name: str = "", ca: str | None = None
) -> Bus:
    """Connect once or raise CannotConnect; from then on reconnect for ever.

    `inbox` is the identity's own inbox prefix: no other is permitted to it. `ca`: see `tls_context`.
    """
    bus = Bus(identity, partial(_open, url, credentials, inbox=inbox, name=name or identity, ca=ca))
    await bus._opened(bus, bus.nc)
    return bus


async def _open(
    url: str, credentials: Credentials, bus: Bus, nc: Client, *, inbox: str, name: str, ca: str | None
) -> None:
    """Connect a client for a bus, which hears of its further life as long as it is the bus's own."""
    context = tls_context(url, ca)
    problem: list[Exception] = []

    async def error_cb(error: Exception) -> None:
        if nc.is_connected or nc.is_reconnecting:
            await bus._error(error)
        else:
            problem.append(error)

    def of_bus(callback: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def told() -> None:
            if bus.nc is nc:
                await callback()

        return told

    try:
        await nc.connect(
            servers=[part.strip() for part in url.split(",")],
            name=name,
            user_jwt_cb=lambda: credentials.jwt().encode(),
            signature_cb=lambda nonce: base64.b64encode(credentials.sign(nonce.encode())),
            inbox_prefix=inbox,
            connect_timeout=CONNECT_TIMEOUT_S,
            # Else a wrong credential is tried 60 times before anyone hears of it.
            allow_reconnect=False,
            # And with no limit a refused first connection is tried for ever.
            max_reconnect_attempts=1,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # a float works, and 2 s is too long
            # Subjects are built in `contracts.subjects`, which checks every token.
            skip_subject_validation=True,
            ping_interval=10,
            max_outstanding_pings=2,
            pending_size=MAX_PENDING_BYTES,
            error_cb=error_cb,
            disconnected_cb=of_bus(bus._disconnected),
            reconnected_cb=of_bus(bus._reconnected),
            closed_cb=of_bus(bus._closed),
            tls=context,
            # Before a word in the clear: else whoever sits between could say that there is no TLS here.
            tls_handshake_first=context is not None,
        )
    except (OSError, TimeoutError, nats.errors.Error, ValueError) as error:
        cause = problem[0] if problem else error
        await nc.close()
        raise CannotConnect(
            f"cannot connect to NATS at {url} as {bus.identity}: {str(cause) or type(cause).__name__}"
        ) from error
    nc.options["allow_reconnect"] = True
    nc.options["max_reconnect_attempts"] = -1
