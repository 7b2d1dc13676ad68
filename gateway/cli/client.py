"""The gateway's HTTP API and live feed, as the commands use them."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self

import aiohttp
import msgspec
from msgspec import Struct

from contracts import clock, signatures
from contracts.membership import Join, Membership
from gateway.cli import exits
from gateway.cli.exits import Exit, Stop
from gateway.cli.session import Login, Session

API = "/api/v1"
PROTOCOL = "mmn.v1"
TIMEOUT_S = 30.0
FEED_TRIES = 6
FEED_WAIT_S = 0.1
_FRAME_BYTES = 16 * 1024 * 1024
_FEED_CLOSED = {4400: Exit.BAD_INPUT, 4401: Exit.NOT_ALLOWED, 4403: Exit.NOT_ALLOWED}


class Item(Struct, frozen=True, kw_only=True):
    """One thing the feed tells: a result, a progress event, a step of a job, health, a log line."""

    topic: str
    data: Any = None
    seq: int = 0
    subject: str = ""


class Frame(Struct, frozen=True, kw_only=True):
    """One message of the feed: a batch of items, a gap (`topic`, `reason`, `missed`), or a greeting."""

    type: str
    items: list[Item] = []
    cursors: dict[str, Any] = {}
    topic: str = ""
    reason: str = ""
    detail: str = ""
    missed: int | None = None
    cursor: Any = None


class Client:
    """One command's conversation with a gateway. Every refusal is raised as exits.Stop in the gateway's words."""

    def __init__(self, session: Session, *, timeout: float = TIMEOUT_S) -> None:
        self.session = session
        self.url = session.url
        self._timeout = timeout
        self._http: aiohttp.ClientSession | None = None
        self._login: Login | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=trust(self.session.ca)) if self.url.startswith("https:") else None
        self._http = aiohttp.ClientSession(headers={"Accept": "application/json"}, connector=connector)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def login(
        self, user: str, password: str, *, password_file: str | None = None, current: bool = False
    ) -> Login:
        """Exchange a password for tokens and keep them."""
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        told = await self._answer("POST", "/auth/token", headers={"Authorization": f"Basic {pair}"})
        return self._keep(user, told, password_file=password_file, current=current)

    async def token(self, *, refused: str | None = None) -> str:
        """A valid token: the kept one unless it was `refused`, else by the refresh token or the password's file.

        Raises Stop.
        """
        kept = self._login or self.session.login()
        if kept is None or not kept.fresh() or kept.token == refused:
            async with self.session.alone():
                kept = await self._renewed(refused)
        self._login = kept
        return kept.token

    async def logout(self, *, everywhere: bool = False) -> None:
        """End the login at the gateway; one that has ended already is as good."""
        try:
            await self.post("/auth/revoke", {"everywhere": everywhere})
        except Stop as stop:
            if everywhere or stop.code is not Exit.NOT_ALLOWED:
                raise

    async def _renewed(self, refused: str | None) -> Login:
        # While this one waited, another command may have renewed it.
        kept = self.session.login()
        if kept is not None and kept.fresh() and kept.token != refused:
            return kept
        if kept is not None and kept.refresh:
            try:
                told = await self._answer("POST", "/auth/refresh", **_json({"refresh_token": kept.refresh}))
            except Stop as stop:
                if stop.code is not Exit.NOT_ALLOWED:
                    raise
            else:
                return self._keep(kept.user, told, password_file=kept.password_file)
        known = self.session.password()
        if known is None:
            why = "the login has ended" if kept is not None else "not logged in"
            raise Stop(Exit.NOT_ALLOWED, why, f"run `mmn login {self.url}`")
        user, password, file = known
        return await self.login(user, password, password_file=file)

    def _keep(self, user: str, told: Mapping[str, Any], *, password_file: str | None, current: bool = False) -> Login:
        refresh = told.get("refresh_token")
        login = Login(
            user=user,
            token=str(told["access_token"]),
            expires_ns=clock.wall_ns() + int(float(told.get("expires_in", 60)) * 1e9),
            role=str(told.get("role", "")),
            refresh=str(refresh) if refresh else None,
            password_file=password_file,
            ca=self.session.ca,
        )
        self.session.keep(login, current=current)
        self._login = login
        return login

    async def join(self, wish: Join) -> Membership:
        """Join with a one-time token, which is all the right that this needs."""
        headers = {"Content-Type": "application/json"}
        told = await self._answer("POST", "/access/join", data=msgspec.json.encode(wish), headers=headers)
        return msgspec.convert(told, Membership)

    async def get(self, path: str, *, timeout: float | None = None, **query: Any) -> Any:
        """GET an API path; query values that are None are left out."""
        return await self._authorised("GET", path, params=_query(query), timeout=timeout)

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """POST a JSON body."""
        return await self._authorised("POST", path, params=_query(query), **_json(body))

    async def put(self, path: str, body: Any) -> Any:
        """PUT a JSON body."""
        return await self._authorised("PUT", path, **_json(body))

    async def delete(self, path: str) -> Any:
        """DELETE an API path."""
        return await self._authorised("DELETE", path)

    async def upload(self, path: str, data: bytes, query: Sequence[tuple[str, str]], *, signature: str) -> Any:
        """POST raw bytes, such as a wheel, with their signature."""
        headers = {"Content-Type": "application/octet-stream", signatures.HEADER: signature}
        return await self._authorised("POST", path, params=query, data=data, headers=headers, timeout=120.0)

    async def follow(
        self,
        topics: Sequence[str],
        *,
        job: str | None = None,
        function: str | None = None,
        since: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Frame, None]:
        """The live feed, without end: it reconnects where it was cut off. Raises Stop when that fails, too.

        `since` says, per topic, behind which cursor to begin.
        """
        seen = dict(since or {})
        failures = 0
        while True:
            try:
                async for frame in self._connection(topics, job, function, seen):
                    failures = 0
                    seen |= frame.cursors
                    if frame.type == "gap" and frame.cursor is not None:
                        seen[frame.topic] = frame.cursor
                    yield frame
            except Stop as stop:
                failures += 1
                if stop.code is not Exit.UNAVAILABLE or failures >= FEED_TRIES:
                    raise
                await asyncio.sleep(FEED_WAIT_S * 2**failures)

    async def _connection(
        self, topics: Sequence[str], job: str | None, function: str | None, since: Mapping[str, Any]
    ) -> AsyncGenerator[Frame, None]:
        token = await self.token()
        wish = {"job": job, "function": function, "since": dict(since) or None}
        subscribe = {"type": "subscribe", "topics": list(topics)} | {k: v for k, v in wish.items() if v is not None}
        try:
            async with self._session().ws_connect(
                self.url + API + "/feed",
                protocols=(PROTOCOL, f"bearer.{token}"),
                heartbeat=20.0,
                max_msg_size=_FRAME_BYTES,
            ) as socket:
                await socket.send_json(subscribe)
                async for frame in _frames(socket):
                    yield frame
        except aiohttp.WSServerHandshakeError as error:
            code = exits.for_status(error.status)
            raise Stop(code, "the live feed cannot be opened", f"HTTP {error.status}: {error.message}") from error
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from error

    async def _authorised(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        token = await self.token()
        try:
            return await self._answer(
                method, path, headers={**(headers or {}), "Authorization": f"Bearer {token}"}, **more
            )
        except Stop as refusal:
            if refusal.problem.get("status") != 401:
                raise
        # The gateway no longer takes the token, though it should still be valid: it was cut, or the key was changed.
        token = await self.token(refused=token)
        return await self._answer(method, path, headers={**(headers or {}), "Authorization": f"Bearer {token}"}, **more)

    async def _answer(self, method: str, path: str, *, timeout: float | None = None, **options: Any) -> Any:
        limit = aiohttp.ClientTimeout(total=timeout or self._timeout)
        try:
            async with self._session().request(method, self.url + API + path, timeout=limit, **options) as answer:
                body = await answer.read()
        except TimeoutError as error:
            raise Stop(Exit.UNAVAILABLE, "the gateway does not answer in time", self.url) from error
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from error
        told = _decoded(body)
        if answer.status >= 400:
            raise exits.of_problem(answer.status, told if isinstance(told, dict) else {"detail": str(told)[:500]})
        return told

    def _session(self) -> aiohttp.ClientSession:
        assert self._http is not None, "use the client as a context manager"
        return self._http

    def _unreachable(self, error: Exception) -> Stop:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            cause = error.certificate_error
            why = getattr(cause, "verify_message", "") or str(cause)
            hint = "name the file with its authority by MMN_CA or `mmn login --ca FILE`"
            return Stop(Exit.UNAVAILABLE, f"the certificate of {self.url} is not trusted", f"{why}; {hint}")
        if isinstance(error, aiohttp.ClientConnectorSSLError):
            return Stop(Exit.UNAVAILABLE, f"{self.url} does not speak TLS 1.3", str(error))
        hint = "start a network here by `mmn up`, or name another gateway by --url, MMN_URL or `mmn login URL`"
        return Stop(Exit.UNAVAILABLE, f"no gateway answers at {self.url}", f"{error}; {hint}")


def trust(ca: str | None) -> ssl.SSLContext:
    """TLS 1.3, with this authority beside those that the machine trusts. Raises Stop."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if ca:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise Stop(Exit.BAD_INPUT, "the authority of the gateway cannot be read", f"{ca}: {error}") from error
    return context


async def _frames(socket: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[Frame, None]:
    trouble: Frame | None = None
    async for message in socket:
        if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            frame = msgspec.json.decode(message.data, type=Frame)
            if frame.type == "error":
                trouble = frame
            else:
                yield frame
    expired = trouble is not None and trouble.reason == "token-expired"
    code = _FEED_CLOSED.get(socket.close_code or 0, Exit.UNAVAILABLE)
    why = trouble.detail if trouble else f"code {socket.close_code}"
    raise Stop(Exit.UNAVAILABLE if expired else code, "the live feed was closed", why)


def _json(body: Any) -> dict[str, Any]:
    """The options of a request with a JSON body; without one when it is None."""
    if body is None:
        return {}
    return {"data": msgspec.json.encode(body), "headers": {"Content-Type": "application/json"}}


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return body.decode(errors="replace")


def _query(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}
