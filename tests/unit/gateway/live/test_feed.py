import json
from collections.abc import Generator
from typing import Any

import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from contracts.errors import Unavailable
from gateway.app import create_app
from gateway.live import feed
from gateway.live.feed import replay_after, replay_subject, token_of
from gateway.live.hub import Filter
from gateway.live.messages import Cursor, Subscribe, read
from gateway.security.roles import Role
from gateway.security.tokens import Tokens
from tests.unit.gateway.plane import Plane, status_of


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def client(plane: Plane) -> Generator[TestClient[Any]]:
    with TestClient(create_app(plane.parts)) as client:
        yield client


def protocols(plane: Plane, role: Role = Role.VIEWER) -> list[str]:
    return ["mmn.v1", "bearer." + plane.parts.tokens.issue(role.value, role)]


def test_a_token_among_the_subprotocols_admits(plane: Plane, client: TestClient[Any]) -> None:
    with client.websocket_connect(feed.PATH, subprotocols=protocols(plane)) as socket:
        ready = json.loads(socket.receive_text())
        assert (ready["type"], ready["user"], ready["role"]) == ("ready", "viewer", "viewer")
        assert socket.accepted_subprotocol == "mmn.v1"
        socket.send_text('{"type": "ping"}')
        assert json.loads(socket.receive_text()) == {"type": "pong"}


def test_a_token_in_the_first_message_admits(plane: Plane, client: TestClient[Any]) -> None:
    with client.websocket_connect(feed.PATH) as socket:
        token = plane.parts.tokens.issue("viewer", Role.VIEWER)
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
    expired = Tokens(b"k" * 32, lifetime_s=-5).issue("viewer", Role.VIEWER)
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
        '{"type": "auth", "token": "x"}',
    ],
    ids=range(9),
)
def test_a_malformed_message_ends_the_conversation(message: str, plane: Plane, client: TestClient[Any]) -> None:
    assert ending(client, protocols(plane), message) == ("invalid-message", 4400)


def test_a_token_that_expires_closes_the_socket(client: TestClient[Any]) -> None:
    token = Tokens(b"k" * 32, lifetime_s=1).issue("viewer", Role.VIEWER)
    assert ending(client, ["mmn.v1", f"bearer.{token}"]) == ("token-expired", 4401)


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
