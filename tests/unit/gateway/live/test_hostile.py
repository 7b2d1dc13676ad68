"""What somebody who means harm sends to the feed: it ends their conversation and nothing else, at a bounded price."""

import json
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

from contracts import streams
from gateway.app import create_app
from gateway.live import feed
from gateway.live.hub import Hub
from gateway.live.messages import MAX_MESSAGE_BYTES, STREAMS, Auth, Ping, Subscribe, read
from gateway.security.roles import Role
from tests.kit.hostile import HOSTILE
from tests.kit.memory import at_most
from tests.unit.gateway.plane import ListSource, Plane, record

CLOSED = {4400, 4401, 4403, 1013}
FIELDS = ("type", "token", "topics", "job", "function", "since", "more")
PLAIN = [value for value in HOSTILE if not isinstance(value, bytes)]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(PLAIN),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
TOPICS = st.sampled_from(sorted(STREAMS))
VALID = st.fixed_dictionaries(
    {"type": st.just("subscribe"), "topics": st.lists(TOPICS, min_size=1, max_size=6)},
    optional={
        "job": st.just("j1"),
        "function": st.just("echo"),
        "since": st.dictionaries(TOPICS, st.integers() | st.tuples(st.sampled_from(["one", "two"]), st.integers())),
    },
) | st.just({"type": "ping"})
LIKELY = st.fixed_dictionaries(
    {"type": st.sampled_from(["auth", "subscribe", "ping", "batch", ""])},
    optional=dict.fromkeys(FIELDS[1:], ANYTHING),
)
MESSAGE = st.one_of(VALID, LIKELY, ANYTHING).map(json.dumps) | st.text(max_size=60)


@given(MESSAGE | st.binary(max_size=200))
def test_a_message_is_one_of_three_or_a_refusal(message: str | bytes) -> None:
    try:
        found = read(message)
    except (msgspec.DecodeError, RecursionError):
        return
    assert isinstance(found, Auth | Subscribe | Ping)


@pytest.mark.parametrize(
    "message",
    [
        "[" * MAX_MESSAGE_BYTES,
        '{"type":"subscribe","topics":["results"],"since":' + '{"a":' * 3000,
        '{"type":"subscribe","topics":[' + ",".join(['"results"'] * 1600) + "]}",
        '{"type":"subscribe","topics":["results"],"since":{"results":' + "9" * 15_000 + "}}",
        '{"type":"auth","token":"' + "x" * 16_000 + '"}',
        '{"type":"' + "\\u0000" * 2_600 + '"}',
    ],
    ids=["lists", "objects", "topics", "digits", "token", "escapes"],
)
def test_the_largest_message_costs_little_more_than_itself(message: str) -> None:
    with at_most(64 * MAX_MESSAGE_BYTES), suppress(msgspec.DecodeError, RecursionError):
        read(message)


@pytest.fixture(scope="module")
def served() -> Generator[tuple[Plane, TestClient[Any]]]:
    plane, source = Plane(), ListSource()
    for stream in (streams.RESULTS, streams.LOGS, streams.HEALTH):
        for sequence in range(1, 4):
            source.add(
                stream, record(sequence, "mmn.logs.n1", {"at": "", "level": "info", "instance": "n1", "event": ""})
            )
    plane.parts.hub = Hub(source)
    with TestClient(create_app(plane.parts)) as client:
        following = client.blocking_portal.start_task_soon(plane.parts.hub.run)
        yield plane, client
        following.cancel()


def converse(plane: Plane, client: TestClient[Any], messages: list[str | bytes]) -> int | None:
    """Say all of this; returns the code with which the socket was closed, None when it is still open."""
    offered = ["mmn.v1", "bearer." + plane.token(Role.OPERATOR)]
    with client.websocket_connect(feed.PATH, subprotocols=offered) as socket:
        for message in messages:
            if isinstance(message, bytes):
                socket.send_bytes(message)
            else:
                socket.send_text(message)
        # Whoever gets its answer is still heard.
        socket.send_text('{"type": "ping"}')
        try:
            while json.loads(socket.receive_text(timeout=20))["type"] != "pong":
                pass
        except WebSocketDisconnect as gone:
            return gone.code
    return None


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=st.lists(MESSAGE | st.binary(max_size=60), min_size=1, max_size=6))
def test_a_conversation_goes_on_or_ends_with_a_code_and_leaves_nothing(
    served: tuple[Plane, TestClient[Any]], messages: list[str | bytes]
) -> None:
    plane, client = served
    code = converse(plane, client, messages)
    assert code is None or code in CLOSED
    hub = plane.parts.hub
    client.blocking_portal.call(hub.empty.wait)
    assert (hub.clients, len(hub._groups)) == (0, 0)
    # The next one is served as ever.
    assert converse(plane, client, []) is None


def test_a_hundred_subscriptions_of_one_socket_are_one(served: tuple[Plane, TestClient[Any]]) -> None:
    plane, client = served
    one = json.dumps({"type": "subscribe", "topics": ["logs"], "function": "echo", "since": {"logs": 1}})
    assert converse(plane, client, [one] * 100) in {None, 1013}
    client.blocking_portal.call(plane.parts.hub.empty.wait)
    assert not plane.parts.hub._groups
