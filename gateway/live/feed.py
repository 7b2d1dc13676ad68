"""The WebSocket `/api/v1/feed`: who asks, for what, from where on; the hub does the rest."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Any

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect

from contracts import subjects
from contracts.errors import Refused, Unavailable
from contracts.tail import StreamStatus
from gateway.held import Bell
from gateway.live.client import Client
from gateway.live.hub import Filter, Hub, Replay, narrowed
from gateway.live.messages import (
    BEARER,
    CLOSE_BAD_MESSAGE,
    CLOSE_FORBIDDEN,
    CLOSE_GOING_AWAY,
    CLOSE_NOT_ADMITTED,
    CLOSE_TRY_LATER,
    JOB_TOPICS,
    STREAMS,
    SUBPROTOCOL,
    Auth,
    ClientMessage,
    Gap,
    Ping,
    Pong,
    Ready,
    Renewed,
    Subscribe,
    Subscribed,
    Topic,
    Trouble,
    read,
)
from gateway.live.shares import Share
from gateway.parts import Given
from gateway.security.audit import Note
from gateway.security.guard import Guard
from gateway.security.roles import API, RIGHTS, TOPICS, Role
from gateway.security.tokens import Claims

log = structlog.get_logger(__name__)

PATH = f"{API}/feed"
AUTH_WITHIN_S = 5.0
_CLOSE_WITHIN_S = 2.0
_NEEDED = RIGHTS["WEBSOCKET", PATH] or Role.VIEWER
Socket = WebSocket[Any, Any, Any]


class _Over(Exception):
    """The conversation ends. `code` None: the client has gone already."""

    def __init__(self, code: int | None, reason: str = "", detail: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.detail = detail


def _refusal(error: Refused) -> _Over:
    code = CLOSE_FORBIDDEN if error.code == 403 else CLOSE_NOT_ADMITTED
    return _Over(code, error.reason, error.message)


def token_of(protocols: list[str]) -> str | None:
    """The token among the subprotocols that a client offers, where no log and no URL shows it."""
    return next((name.removeprefix(BEARER) for name in protocols if name.startswith(BEARER)), None)


def replay_subject(wanted: Filter) -> str | None:
    """What to read of a topic's stream for one job; None reads all."""
    if wanted.job is None:
        return None
    match wanted.topic:
        case "results":
            return subjects.out_any(wanted.job)
        case "progress":
            return subjects.progress_of(wanted.job)
        case _:
            return subjects.job_event(wanted.job)


def replay_after(topic: Topic, message: Subscribe, status: StreamStatus | None) -> tuple[int | None, Gap | None]:
    """Behind which sequence a replay begins (None: no replay), and the gap to tell of first."""
    since = message.since.get(topic)
    if since is None or status is None:
        # Who follows one job wants all of it, whenever it began.
        return (0 if message.job is not None and topic in JOB_TOPICS else None), None
    incarnation, sequence = since if isinstance(since, tuple) else (status.created, since)
    state, sequence = status.state, max(0, sequence)
    if incarnation != status.created or sequence > state.last_seq:
        cursor = (status.created, state.last_seq)
        return None, Gap(topic=topic, reason="incarnation", missed=None, cursor=cursor)
    # Of health only the last of each instance is kept, so nothing that matters is lost there.
    if 0 < sequence < state.first_seq - 1 and topic != "health":
        return sequence, Gap(topic=topic, reason="expired", missed=None, cursor=(status.created, state.first_seq - 1))
    return sequence, None


class Conversation:
    """One admitted client: its queue, its subscription, the replays under way."""

    def __init__(self, socket: Socket, hub: Hub, claims: Claims, *, guard: Guard, share: Share, bell: Bell) -> None:
        self._socket = socket
        self._hub = hub
        self._claims = claims
        self._guard = guard
        self._bell = bell
        self._until: asyncio.Timeout | None = None
        self._topics: list[Topic] = []
        self._share = share
        self._client = Client()
        self._joined: list[Filter] = []
        self._entering: set[asyncio.Task[None]] = set()

    async def run(self) -> _Over:
        """Talk until the client goes, errs or may not listen any more, or the gateway stops."""
        left = self._claims.seconds_left
        ready = Ready(user=self._claims.sub, role=self._claims.role.value, expires_in=int(left))
        self._client.tell(ready)
        self._hub.enter(self._client)
        try:
            async with asyncio.timeout(left) as self._until, asyncio.TaskGroup() as group:
                group.create_task(self._send())
                group.create_task(self._receive(group))
                group.create_task(self._watch_room())
                group.create_task(self._watch_rights())
        except TimeoutError:
            return _Over(CLOSE_NOT_ADMITTED, "token-expired", "the access token has expired; get a new one")
        except ExceptionGroup as error:
            over, rest = error.split(_Over)
            if rest is not None or over is None:
                raise
            first = over.exceptions[0]
            return first if isinstance(first, _Over) else _Over(None)
        finally:
            self._hub.exit(self._client)
            self._leave()
        return _Over(None)

    async def _send(self) -> None:
        while (text := await self._client.next()) is not None:
            try:
                await self._socket.send_data(text)
            except (WebSocketDisconnect, OSError, RuntimeError) as error:
                raise _Over(None) from error
        raise _Over(CLOSE_GOING_AWAY, "going-away", "this gateway is stopping; connect again")

    async def _receive(self, group: asyncio.TaskGroup) -> None:
        while True:
            match await receive(self._socket):
                case Subscribe() as message:
                    await self._subscribe(message, group)
                case Ping():
                    self._client.tell(Pong())
                case Auth() as message:
                    self._renew(message.token)

    def _renew(self, token: str) -> None:
        claims = _admitted(self._guard, token)
        if claims.sub != self._claims.sub:
            raise _Over(CLOSE_BAD_MESSAGE, "invalid-message", "this token is another user's; connect anew to change")
        self._claims = claims
        self._judge()
        left = claims.seconds_left
        if self._until is not None:
            self._until.reschedule(asyncio.get_running_loop().time() + left)
        self._client.tell(Renewed(role=claims.role.value, expires_in=int(left)))

    async def _watch_room(self) -> None:
        await self._client.overrun.wait()
        raise _Over(CLOSE_TRY_LATER, "too-slow", "too many messages wait to be read")

    async def _watch_rights(self) -> None:
        with self._bell.listening() as changed:
            # Something may have changed since the client was admitted.
            changed.set()
            while True:
                await changed.wait()
                changed.clear()
                # While users are not known, nobody is sent away for it.
                with suppress(Unavailable):
                    self._judge()

    def _judge(self) -> None:
        try:
            for role in {_NEEDED, *(TOPICS[topic] for topic in self._topics)}:
                self._guard.again(self._claims, role)
        except Refused as error:
            raise _refusal(error) from error

    async def _subscribe(self, message: Subscribe, group: asyncio.TaskGroup) -> None:
        for task in self._entering:
            task.cancel()
        if self._entering:
            await asyncio.wait(self._entering)
        self._leave()
        topics = self._topics = list(dict.fromkeys(message.topics))
        self._judge()
        self._client.tell(Subscribed(topics=topics, job=message.job, function=message.function))
        for topic in topics:
            task = group.create_task(self._enter(topic, message))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    def _leave(self) -> None:
        for wanted in self._joined:
            self._hub.leave(self._client, wanted)
            self._client.forget(wanted.topic)
        self._joined.clear()

    async def _enter(self, topic: Topic, message: Subscribe) -> None:
        """Replay what was missed of a topic, then go over to what is live, with no seam."""
        try:
            await self._hub.start(topic)
            status = await self._hub.source.status(STREAMS[topic]) if topic in message.since else None
        except Unavailable as error:
            raise _Over(CLOSE_TRY_LATER, "unavailable", str(error)) from error
        wanted = narrowed(topic, message.job, message.function)
        self._joined.append(wanted)
        after, gap = replay_after(topic, message, status)
        if gap is not None:
            self._client.tell(gap)
        if after is None:
            self._hub.join(self._client, wanted)
            return
        replay = Replay(self._hub.source, wanted, after=after, subject=replay_subject(wanted))
        async with self._share.replays:
            await self._play(replay, until=None)
            self._client.hold(topic)
            self._hub.join(self._client, wanted)
            incarnation, position = self._hub.position(topic)
            # What the hub took while the first part was played reached nobody here.
            await self._play(replay, until=position)
        self._client.floor(topic, incarnation, max(position, replay.sequence))
        self._client.release(topic)

    async def _play(self, replay: Replay, *, until: int | None) -> None:
        if until is not None and until <= replay.sequence:
            return
        async with aclosing(replay.frames(until=until)) as frames:
            async for frame in frames:
                await self._client.put(frame)


async def receive(socket: Socket) -> ClientMessage:
    """The next message of a client. Raises _Over when it is malformed, or there is none any more."""
    try:
        text = await socket.receive_data(mode="text")
    except WebSocketDisconnect as error:
        raise _Over(None) from error
    try:
        return read(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Over(CLOSE_BAD_MESSAGE, "invalid-message", str(error)) from error


async def admitted(socket: Socket, guard: Guard) -> Claims:
    """Who is there: the token comes as a subprotocol or in the first message. Raises _Over."""
    token = token_of(socket.scope["subprotocols"])
    if token is None:
        try:
            async with asyncio.timeout(AUTH_WITHIN_S):
                message = await receive(socket)
        except TimeoutError as error:
            raise _Over(CLOSE_NOT_ADMITTED, "not-authenticated", "no token came in time") from error
        if not isinstance(message, Auth):
            raise _Over(CLOSE_NOT_ADMITTED, "not-authenticated", "the first message must be of type auth")
        token = message.token
    return _admitted(guard, token)


def _admitted(guard: Guard, token: str) -> Claims:
    try:
        return guard.admit(token, _NEEDED)
    except Refused as error:
        raise _refusal(error) from error
    except Unavailable as error:
        raise _Over(CLOSE_TRY_LATER, "unavailable", str(error)) from error


@websocket(PATH)
async def feed(socket: Socket, parts: Given) -> None:
    """Stream results, progress, events, health, modules and logs as they happen."""
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocols=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    claims = None
    try:
        claims = await admitted(socket, parts.guard)
        with parts.shares.socket(claims.sub) as share:
            if share is None:
                raise _Over(CLOSE_TRY_LATER, "too-many-sockets", "close one of this user's other connections first")
            conversation = Conversation(
                socket, parts.hub, claims, guard=parts.guard, share=share, bell=parts.network.bell
            )
            over = await conversation.run()
    except _Over as error:
        over = error
    # Whose login ends while the socket is open was not refused anything.
    if over.code == CLOSE_FORBIDDEN or (over.code == CLOSE_NOT_ADMITTED and claims is None):
        await parts.audit.record(
            "refused",
            "feed",
            status=403 if over.code == CLOSE_FORBIDDEN else 401,
            told=Note(reason=over.reason),
            who=claims,
            address=socket.client.host if socket.client else None,
        )
    if over.code is None:
        return
    try:
        async with asyncio.timeout(_CLOSE_WITHIN_S):
            if over.code != CLOSE_GOING_AWAY:
                await socket.send_data(msgspec.json.encode(Trouble(reason=over.reason, detail=over.detail)).decode())
            await socket.close(over.code, over.reason)
    except (TimeoutError, WebSocketDisconnect, OSError, RuntimeError) as error:
        log.debug("socket was gone before it was closed", reason=str(error))
