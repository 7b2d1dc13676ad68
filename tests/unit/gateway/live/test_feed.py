import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from contracts import streams
from contracts.errors import Unavailable
from contracts.tail import CaughtUp, Start
from gateway.app import create_app
from gateway.live import feed, shares
from gateway.live.client import QUEUE_MESSAGES
from gateway.live.feed import replay_after, replay_subject, token_of
from gateway.live.hub import Filter, Hub
from gateway.live.messages import STREAMS, Cursor, Subscribe, Topic, read
from gateway.records import Record
from gateway.security.roles import TOPICS, Role
from gateway.security.tokens import Tokens
from tests.unit.gateway.plane import ListSource, Plane, record, status_of


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def client(plane: Plane) -> Generator[TestClient[Any]]:
    with TestClient(create_app(plane.parts)) as client:
        yield client


def protocols(plane: Plane, role: Role = Role.VIEWER) -> list[str]:
    return ["mmn.v1", "bearer." + plane.token(role)]


def test_a_token_among_the_subprotocols_admits(plane: Plane, client: TestClient[Any]) -> None:
    with client.websocket_connect(feed.PATH, subprotocols=protocols(plane)) as socket:
        ready = json.loads(socket.receive_text())
        assert (ready["type"], ready["user"], ready["role"]) == ("ready", "viewer", "viewer")
        assert socket.accepted_subprotocol == "mmn.v1"
        socket.send_text('{"type": "ping"}')
        assert json.loads(socket.receive_text()) == {"type": "pong"}


def test_a_token_in_the_first_message_admits(plane: Plane, client: TestClient[Any]) -> None:
    with client.websocket_connect(feed.PATH) as socket:
        token = plane.token(Role.VIEWER)
        socket.send_text(json.dumps({"type": "auth", "token": token}))
        assert json.loads(socket.receive_text())["type"] == "ready"


def ending(client: TestClient[Any], offered: list[str], *messages: str) -> tuple[str, int]:
    """The reason that is told, and the code with which the socket is closed."""
    with client.websocket_connect(feed.PATH, subprotocols=offered) as socket:
        for message in messages:
            socket.send_text(message)
        reason = ""
        try:
            while True:
                reason = json.loads(socket.receive_text()).get("reason", "")
        except WebSocketDisconnect as gone:
            return reason, gone.code


def test_who_is_not_known_is_closed_out(plane: Plane, client: TestClient[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expired = Tokens(b"k" * 32, lifetime_s=-5).issue("viewer", Role.VIEWER, epoch="", sid="")
    assert ending(client, ["mmn.v1", "bearer.x"]) == ("token-invalid", 4401)
    assert ending(client, ["mmn.v1", f"bearer.{expired}"]) == ("token-expired", 4401)
    assert ending(client, ["mmn.v1"], '{"type": "ping"}') == ("not-authenticated", 4401)
    monkeypatch.setattr(feed, "AUTH_WITHIN_S", 0.01)
    assert ending(client, ["mmn.v1"]) == ("not-authenticated", 4401)

    def starting(_: str) -> None:
        raise Unavailable("starting")

    monkeypatch.setattr(plane.network, "user", starting)
    assert ending(client, protocols(plane)) == ("unavailable", 1013)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        '{"type": "nothing"}',
        '{"type": "subscribe", "topics": []}',
        '{"type": "subscribe", "topics": ["everything"]}',
        '{"type": "subscribe", "topics": ["results"], "jobs": "j1"}',
        '{"type": "subscribe", "topics": ["results"], "job": "*"}',
    ],
    ids=range(8),
)
def test_a_malformed_message_ends_the_conversation(message: str, plane: Plane, client: TestClient[Any]) -> None:
    assert ending(client, protocols(plane), message) == ("invalid-message", 4400)


def test_a_token_that_expires_closes_the_socket(client: TestClient[Any]) -> None:
    token = Tokens(b"k" * 32, lifetime_s=1).issue("viewer", Role.VIEWER, epoch="", sid="")
    assert ending(client, ["mmn.v1", f"bearer.{token}"]) == ("token-expired", 4401)


def closed_by(plane: Plane, client: TestClient[Any], role: Role, change: Callable[[], None]) -> tuple[str, int]:
    """What an open socket that follows log lines is told when something changes."""
    with client.websocket_connect(feed.PATH, subprotocols=protocols(plane, role)) as socket:
        assert json.loads(socket.receive_text())["type"] == "ready"
        socket.send_text('{"type": "subscribe", "topics": ["logs"]}')
        assert json.loads(socket.receive_text())["type"] == "subscribed"
        change()
        client.blocking_portal.call(plane.network.bell.ring)
        reason = json.loads(socket.receive_text())["reason"]
        with pytest.raises(WebSocketDisconnect) as gone:
            socket.receive_text()
    return reason, gone.value.code


def test_a_socket_ends_with_the_right_to_it(plane: Plane, client: TestClient[Any]) -> None:
    plane.parts.hub = Hub(ListSource())
    people = plane.network.people

    def demote() -> None:
        people["admin"] = msgspec.structs.replace(people["admin"], role=Role.VIEWER)

    def cut() -> None:
        people["deployer"] = msgspec.structs.replace(people["deployer"], epoch="another")

    with running(plane, client):
        assert closed_by(plane, client, Role.OPERATOR, people.clear) == ("token-invalid", 4401)
        plane.network.people |= Plane().network.people
        people = plane.network.people
        assert closed_by(plane, client, Role.ADMIN, demote) == ("forbidden", 4403)
        assert closed_by(plane, client, Role.DEPLOYER, cut) == ("token-invalid", 4401)


@contextmanager
def running(plane: Plane, client: TestClient[Any]) -> Generator[None]:
    """The hub at work in the application's own loop."""
    work = client.blocking_portal.start_task_soon(plane.parts.hub.run)
    try:
        yield
    finally:
        work.cancel()


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("topic", STREAMS)
def test_a_topic_is_for_those_whom_the_table_names(
    topic: Topic, role: Role, plane: Plane, client: TestClient[Any]
) -> None:
    plane.parts.hub = Hub(ListSource())
    with (
        running(plane, client),
        client.websocket_connect(feed.PATH, subprotocols=protocols(plane, role)) as socket,
    ):
        assert json.loads(socket.receive_text())["type"] == "ready"
        socket.send_text(json.dumps({"type": "subscribe", "topics": ["results", topic]}))
        told = json.loads(socket.receive_text())
        assert told.get("reason", told["type"]) == ("subscribed" if role.covers(TOPICS[topic]) else "forbidden")


def test_the_table_of_rights_names_every_topic_and_no_other() -> None:
    assert set(TOPICS) == set(STREAMS)


def test_a_new_token_keeps_the_socket_open(plane: Plane, client: TestClient[Any]) -> None:
    short = Tokens(b"k" * 32, lifetime_s=2).issue("viewer", Role.VIEWER, epoch="", sid="")
    with client.websocket_connect(feed.PATH, subprotocols=["mmn.v1", f"bearer.{short}"]) as socket:
        assert json.loads(socket.receive_text())["expires_in"] < 2
        socket.send_text(json.dumps({"type": "auth", "token": plane.token(Role.VIEWER)}))
        told = json.loads(socket.receive_text())
        assert (told["type"], told["role"]) == ("renewed", "viewer")
        assert told["expires_in"] > 50
        socket.send_text(json.dumps({"type": "auth", "token": plane.token(Role.ADMIN)}))
        assert "another user" in json.loads(socket.receive_text())["detail"]


def test_nobody_is_closed_out_while_users_are_not_known(
    plane: Plane, client: TestClient[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Semaphore(0)

    def starting(_: str) -> None:
        asked.release()
        raise Unavailable("starting")

    with client.websocket_connect(feed.PATH, subprotocols=protocols(plane)) as socket:
        assert json.loads(socket.receive_text())["type"] == "ready"
        monkeypatch.setattr(plane.network, "user", starting)
        client.blocking_portal.call(plane.network.bell.ring)
        assert asked.acquire(timeout=5)
        socket.send_text('{"type": "ping"}')
        assert json.loads(socket.receive_text()) == {"type": "pong"}


def test_a_user_opens_no_more_sockets_than_their_share(
    plane: Plane, client: TestClient[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "SOCKETS", 1)
    with client.websocket_connect(feed.PATH, subprotocols=protocols(plane)) as socket:
        assert json.loads(socket.receive_text())["type"] == "ready"
        assert ending(client, protocols(plane)) == ("too-many-sockets", 1013)
        with client.websocket_connect(feed.PATH, subprotocols=protocols(plane, Role.ADMIN)) as other:
            assert json.loads(other.receive_text())["type"] == "ready"


class DeafSocket:
    """A client that asks and never reads."""

    async def receive_data(self, **_: object) -> str:
        await asyncio.sleep(0)
        return '{"type": "ping"}'

    async def send_data(self, _: str) -> None:
        await asyncio.Event().wait()


async def test_who_asks_and_never_reads_is_sent_away(plane: Plane) -> None:
    claims = plane.parts.tokens.read(plane.token(Role.VIEWER))
    deaf: Any = DeafSocket()
    talk = feed.Conversation(
        deaf, plane.parts.hub, claims, guard=plane.parts.guard, share=shares.Share(), bell=plane.network.bell
    )
    async with asyncio.timeout(5):
        over = await talk.run()
    assert (over.code, over.reason) == (1013, "too-slow")
    assert len(talk._client._waiting) <= QUEUE_MESSAGES


async def test_a_user_s_replays_wait_for_each_other(plane: Plane) -> None:
    source = CountingSource()
    source.add(streams.PROGRESS, record(1, "mmn.progress.j1.n1_a", {"job": "j1"}))
    hub, share = Hub(source), shares.Share()
    claims = plane.parts.tokens.read(plane.token(Role.VIEWER))
    nothing: Any = None
    talks = [
        feed.Conversation(nothing, hub, claims, guard=plane.parts.guard, share=share, bell=plane.network.bell)
        for _ in range(9)
    ]
    async with asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        wish = Subscribe(topics=["progress"], job="j1")
        await asyncio.gather(*(talk._enter("progress", wish) for talk in talks))
        running.cancel()
    assert source.most == shares.REPLAYS
    assert all(len(talk._client._waiting) == 1 for talk in talks)


class CountingSource(ListSource):
    """Counts how many replay at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    async def follow(
        self, stream: str, *, start: Start, subject: str | None = None, mark: bool = False
    ) -> AsyncGenerator[Record | CaughtUp]:
        # Only a replay wants to know when it has caught up.
        self.now += mark
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.01)
            async for item in super().follow(stream, start=start, subject=subject, mark=mark):
                yield item
        finally:
            self.now -= mark


def test_the_token_is_found_among_subprotocols() -> None:
    assert token_of(["mmn.v1", "bearer.a.b.c"]) == "a.b.c"
    assert token_of(["mmn.v1"]) is None


def test_a_replay_reads_the_subjects_of_one_job_only() -> None:
    assert replay_subject(Filter("results", "j1")) == "mmn.out.j1.*"
    assert replay_subject(Filter("progress", "j1")) == "mmn.progress.j1.*"
    assert replay_subject(Filter("events", "j1")) == "mmn.jobs.event.j1"
    assert replay_subject(Filter("results", None, "echo")) is None


@pytest.mark.parametrize(
    ("since", "after", "gap"),
    [
        (("one", 20), 20, None),
        (20, 20, None),
        (0, 0, None),
        (-3, 0, None),
        (9, 9, None),
        (5, 5, "expired"),
        (("two", 20), None, "incarnation"),
        (31, None, "incarnation"),
    ],
    ids=range(8),
)
def test_where_a_replay_begins(since: Cursor | int, after: int | None, gap: str | None) -> None:
    message = Subscribe(topics=["results"], since={"results": since})
    found, told = replay_after("results", message, status_of(first=10, last=30))
    assert (found, told.reason if told else None) == (after, gap)


def test_who_follows_one_job_gets_it_from_its_start() -> None:
    message = Subscribe(topics=["progress", "health"], job="j1")
    assert replay_after("progress", message, None) == (0, None)
    assert replay_after("health", message, None) == (None, None)
    assert replay_after("progress", Subscribe(topics=["progress"]), None) == (None, None)


def test_messages_of_clients_are_read() -> None:
    text = '{"type":"subscribe","topics":["results"],"since":{"results":["one",3],"events":4}}'
    assert read(text) == Subscribe(topics=["results"], since={"results": ("one", 3), "events": 4})
