import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from contracts import codec, streams
from gateway.live.client import Client
from gateway.live.hub import Filter, Hub, Replay, known, narrowed
from gateway.live.messages import Pong
from gateway.records import Record
from tests.kit.eventually import eventually
from tests.unit.gateway.plane import ListSource, record


def progress(sequence: int, *, job: str = "j1", function: str = "echo", incarnation: str = "one") -> Record:
    value = {"job": job, "function": function, "n": sequence}
    return record(sequence, f"mmn.progress.{job}.n1_a", value, incarnation=incarnation)


def sent(client: Client) -> list[Any]:
    """What waits for a client, decoded; nothing is awaited."""
    texts = [one if isinstance(one, str) else one.text for one in client._waiting]
    client._waiting.clear()
    client._size = 0
    return [json.loads(text) for text in texts]


def sequences(messages: list[Any]) -> list[int]:
    return [item["seq"] for message in messages for item in message.get("items", [])]


def joined(hub: Hub, wanted: Filter, **bounds: int) -> Client:
    client = Client(**bounds)
    hub.join(client, wanted)
    return client


def test_items_are_sent_in_batches() -> None:
    hub = Hub(ListSource())
    client = joined(hub, Filter("progress"))
    for n in range(1, 4):
        hub.take("progress", progress(n))
    assert sent(client) == []
    hub.flush()
    (batch,) = sent(client)
    assert batch["type"] == "batch"
    assert sequences([batch]) == [1, 2, 3]
    assert batch["cursors"] == {"progress": ["one", 3]}
    assert batch["items"][0]["data"] == {"job": "j1", "function": "echo", "n": 1}
    assert batch["items"][0]["subject"] == "mmn.progress.j1.n1_a"


def test_a_large_batch_does_not_wait() -> None:
    hub = Hub(ListSource())
    client = joined(hub, Filter("logs"))
    for n in range(1, 5):
        hub.take("logs", record(n, "mmn.logs.n1", {"text": "x" * 20_000}))
    assert sequences(sent(client)) == [1, 2, 3, 4]


def test_a_batch_is_encoded_once_for_all_who_want_the_same() -> None:
    hub = Hub(ListSource())
    clients = [joined(hub, Filter("progress", job="j1")) for _ in range(3)]
    hub.take("progress", progress(1))
    hub.flush()
    frames = [client._waiting[0] for client in clients]
    assert frames[0] is frames[1] is frames[2]


def test_filters_let_through_what_they_name() -> None:
    hub = Hub(ListSource())
    filters = {
        "all": Filter("progress"),
        "job": Filter("progress", job="j1"),
        "function": Filter("progress", function="echo"),
        "both": Filter("progress", job="j2", function="other"),
    }
    clients = {name: joined(hub, wanted) for name, wanted in filters.items()}
    hub.take("progress", progress(1, job="j1", function="echo"))
    hub.take("progress", progress(2, job="j2", function="echo"))
    hub.take("progress", progress(3, job="j2", function="other"))
    hub.flush()
    got = {name: sequences(sent(client)) for name, client in clients.items()}
    assert got == {"all": [1, 2, 3], "job": [1], "function": [1, 2], "both": [3]}


def test_a_topic_ignores_what_it_does_not_know() -> None:
    assert narrowed("health", "j1", "echo") == Filter("health", None, "echo")
    assert narrowed("logs", "j1", "echo") == Filter("logs")
    assert narrowed("events", "j1", "echo") == Filter("events", "j1", "echo")


def test_who_leaves_gets_nothing_more_and_the_group_goes() -> None:
    hub = Hub(ListSource())
    wanted = Filter("progress")
    client = joined(hub, wanted)
    hub.leave(client, wanted)
    hub.leave(client, wanted)
    hub.take("progress", progress(1))
    hub.flush()
    assert sent(client) == []
    assert hub._groups == {}


def test_who_joins_gets_nothing_from_before() -> None:
    hub = Hub(ListSource())
    early = joined(hub, Filter("progress"))
    hub.take("progress", progress(1))
    late = joined(hub, Filter("progress"))
    hub.take("progress", progress(2))
    hub.flush()
    assert (sequences(sent(early)), sequences(sent(late))) == ([1, 2], [2])


def test_one_slow_client_skips_and_the_other_misses_nothing() -> None:
    hub = Hub(ListSource())
    slow, quick = joined(hub, Filter("progress"), frames=3), joined(hub, Filter("progress"))
    got: list[Any] = []
    for n in range(1, 7):
        hub.take("progress", progress(n))
        hub.flush()
        got += sent(quick)
    assert sequences(got) == [1, 2, 3, 4, 5, 6]
    gap, *rest = sent(slow)
    assert gap == {"type": "gap", "topic": "progress", "reason": "slow", "missed": 4, "cursor": ["one", 4]}
    assert sequences(rest) == [5, 6]


def test_bytes_bound_a_queue_too_and_messages_of_the_protocol_stay() -> None:
    hub = Hub(ListSource())
    client = joined(hub, Filter("logs"), size=50_000)
    client.tell(Pong())
    for n in range(1, 4):
        hub.take("logs", record(n, "mmn.logs.n1", {"text": "x" * 30_000}))
        hub.flush()
    assert [message["type"] for message in sent(client)] == ["pong", "gap", "batch"]


def test_live_items_wait_behind_a_replay_and_come_once() -> None:
    hub = Hub(ListSource())
    client = joined(hub, Filter("progress"))
    client.hold("progress")
    for n in (4, 5, 6):
        hub.take("progress", progress(n))
    hub.flush()
    assert sent(client) == []
    client.floor("progress", "one", 7)
    for n in (7, 8):
        hub.take("progress", progress(n))
    hub.flush()
    client.release("progress")
    assert sequences(sent(client)) == [4, 5, 6, 8]
    hub.take("progress", progress(9))
    hub.flush()
    assert sequences(sent(client)) == [9]


def test_a_stream_made_anew_is_told() -> None:
    hub = Hub(ListSource())
    client = joined(hub, Filter("progress"))
    hub.take("progress", progress(8))
    hub.take("progress", progress(1, incarnation="two"))
    hub.flush()
    first, gap, second = sent(client)
    assert (sequences([first]), sequences([second])) == ([8], [1])
    assert (gap["type"], gap["reason"]) == ("gap", "incarnation")
    assert second["cursors"] == {"progress": ["two", 1]}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'"\xed\xa0\x80"', b"[" * 9000, b"NaN"], ids=range(6))
def test_an_item_that_is_no_json_spoils_no_batch(data: bytes) -> None:
    hub = Hub(ListSource())
    client = joined(hub, Filter("logs"))
    hub.take("logs", Record("one", 1, "mmn.logs.n1", data, codec.JSON))
    hub.take("logs", record(2, "mmn.logs.n1", {"a": 1}))
    hub.flush()
    assert sequences(sent(client)) == [2]


def test_an_item_that_json_cannot_say_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(ListSource())
    client = joined(hub, Filter("logs"))

    def fail(*_: object, **__: object) -> None:
        raise OverflowError

    with monkeypatch.context() as patch:
        patch.setattr(codec, "decode", fail)
        hub.take("logs", record(1, "mmn.logs.n1", {"a": 1}, media=codec.CBOR))
    hub.take("logs", record(2, "mmn.logs.n1", {"a": 1}))
    hub.flush()
    assert sequences(sent(client)) == [2]


def test_other_media_types_become_json() -> None:
    found = known("results", record(1, "mmn.out.j1.n1_a", {"function": "echo"}, media=codec.CBOR))
    assert found is not None
    assert (bytes(found.item.data), found.job, found.function) == (b'{"function":"echo"}', "j1", "echo")


@contextlib.asynccontextmanager
async def running(hub: Hub) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(hub.run())
        yield
        task.cancel()


async def test_a_topic_is_followed_from_the_moment_it_is_asked_for() -> None:
    source = ListSource()
    for n in (1, 2):
        source.add(streams.PROGRESS, progress(n))
    hub = Hub(source)
    async with running(hub):
        await asyncio.gather(hub.start("progress"), hub.start("progress"))
        assert hub.position("progress") == ("one", 2)
        client = joined(hub, Filter("progress"))
        source.add(streams.PROGRESS, progress(3))
        await eventually(lambda: bool(client._waiting), within=5)
        assert sequences(sent(client)) == [3]


async def test_a_replay_ends_at_the_present_or_where_it_is_told() -> None:
    source = ListSource()
    for n in range(1, 6):
        source.add(streams.PROGRESS, progress(n, job=f"j{n % 2}"))
    replay = Replay(source, Filter("progress", job="j1"), after=1, subject="mmn.progress.j1.*")
    assert [[item.seq for item in frame.items] async for frame in replay.frames()] == [[3, 5]]
    assert replay.sequence == 5
    replay = Replay(source, Filter("progress", function="echo"), after=0, subject=None)
    assert [[item.seq for item in frame.items] async for frame in replay.frames(until=2)] == [[1, 2]]


async def test_a_closed_client_gets_what_waits_and_then_the_end() -> None:
    hub = Hub(ListSource())
    client = joined(hub, Filter("progress"))
    hub.enter(client)
    assert not hub.empty.is_set()
    hub.take("progress", progress(1))
    hub.close()
    assert await client.next() is not None
    assert await client.next() is None
    hub.exit(client)
    assert hub.empty.is_set()
