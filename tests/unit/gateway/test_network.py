import asyncio
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from contracts import codec
from contracts.tail import CaughtUp, Entry, Watch
from gateway import network as module
from gateway.network import Network
from gateway.security.identities import User
from gateway.security.roles import Role
from tests.kit.eventually import eventually
from tests.unit.gateway.plane import NOW


def user(name: str, role: Role = Role.VIEWER) -> User:
    return User(name=name, role=role, password="hash", created=NOW)


def entry(name: str, revision: int, role: Role | None = Role.VIEWER) -> Entry:
    return Entry(name, codec.encode(user(name, role), codec.JSON) if role else None, revision)


def _nothing() -> None:
    pass


class FakeJetStream:
    """A bucket that holds one value, and gives what is written the next revision."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.before_ack: Callable[[], None] = _nothing

    async def get_last_msg(self, *_: object, **__: object) -> Any:
        return SimpleNamespace(seq=self.revision, headers=None, data=codec.encode(user("ann"), codec.JSON))

    async def publish(self, *_: object, **__: object) -> Any:
        self.revision += 1
        self.before_ack()
        return SimpleNamespace(seq=self.revision)


def network(revision: int = 0) -> tuple[Network, FakeJetStream]:
    stream = FakeJetStream(revision)
    bus: Any = SimpleNamespace(js=stream)
    return Network(bus), stream


def names(found: Network) -> list[str]:
    return [one.name for one in found.users()]


async def watched(found: Network, monkeypatch: pytest.MonkeyPatch, *items: tuple[str, Entry | CaughtUp]) -> None:
    """Let the users' watch bring these items, each of an incarnation."""

    class FakeWatch:
        incarnation = ""

        def __init__(self, *_: object) -> None:
            pass

        async def __aiter__(self) -> AsyncGenerator[Entry | CaughtUp]:
            for self.incarnation, item in items:
                yield item

    monkeypatch.setattr(module, "Watch", FakeWatch)
    await found._hold(found._users)


def test_a_watch_tells_its_incarnation() -> None:
    bus: Any = None
    watch = Watch(bus, "users")
    assert watch.incarnation == ""
    watch._tail.incarnation = "one"
    assert watch.incarnation == "one"


@pytest.mark.parametrize("incarnation", ["one", "two"])
async def test_a_bucket_made_anew_is_believed(incarnation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = network()
    await watched(
        found,
        monkeypatch,
        ("one", entry("ann", 7, Role.ADMIN)),
        ("one", entry("bob", 9)),
        ("one", CaughtUp()),
        (incarnation, entry("ann", 2)),
        (incarnation, entry("eve", 3)),
    )
    assert names(found) == ["ann", "eve"]
    ann = found.user("ann")
    assert ann is not None
    assert ann.role is Role.VIEWER


async def test_another_incarnation_that_is_further_on_is_believed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = network()
    await watched(found, monkeypatch, ("one", entry("bob", 9)), ("two", entry("ann", 12)))
    assert names(found) == ["ann"]


async def test_changes_of_one_incarnation_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = network()
    items = [entry("ann", 1), entry("bob", 2), entry("ann", 5, Role.ADMIN), entry("bob", 6, None)]
    await watched(found, monkeypatch, *(("one", item) for item in items))
    assert [(one.name, one.role) for one in found.users()] == [("ann", Role.ADMIN)]


async def test_what_was_written_does_not_replace_what_came_after_it() -> None:
    found, stream = network(revision=4)
    # Another's change is heard of before the own one is confirmed.
    stream.before_ack = lambda: found._users.take(entry("ann", 8, Role.ADMIN), "one")
    await found.change_user("ann", lambda _: user("ann", Role.OPERATOR))
    assert [one.role for one in found.users()] == [Role.ADMIN]


async def test_who_was_deleted_does_not_come_back_with_what_the_watch_brings_late() -> None:
    found, _ = network(revision=9)
    found._users.take(entry("ann", 5), "one")
    await found.change_user("ann", lambda _: None)
    found._users.take(entry("ann", 9), "one")
    assert names(found) == []


async def test_who_is_gone_is_forgotten_without_anybody_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = network()
    monkeypatch.setattr(module, "PRUNE_EVERY_S", 0.001)
    asked: list[int] = []
    monkeypatch.setattr(found.registry, "prune", asked.append)
    task = asyncio.get_running_loop().create_task(found._prune())
    await eventually(lambda: len(asked) > 1, within=5)
    task.cancel()
