"""A lane forgets no job, in whatever order the server stores, answers, counts and delivers."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from anchor.dealer import Dealer
from anchor.lanes import Lane
from anchor.registry import Registry
from anchor.slots import Slots
from contracts.pull import Delivery, Exhausted
from tests.kit.eventually import eventually
from tests.unit.anchor.builders import card


class Server:
    """Answers pulls as the test says, whatever is asked; `asked` counts the pulls."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Delivery | Exhausted] = asyncio.Queue()
        self.asked = 0

    async def request(self, _batch: int, *, expires: float) -> None:
        assert expires > 0
        self.asked += 1

    async def next(self, *, within: float) -> Delivery | Exhausted:
        assert within > 0
        return await self.answers.get()

    async def close(self) -> None:
        pass

    def deliver(self, sequence: int, *, pending: int) -> None:
        message: Any = SimpleNamespace(data=b"", subject="", headers={})
        self.answers.put_nowait(Delivery(message, sequence, 1, 0, pending))


class Scene:
    """One lane with one free slot; jobs end as soon as they are delivered."""

    def __init__(self) -> None:
        registry = Registry()
        registry.ready("n1_a", "n1", card(concurrency=1), {}, 0)
        slots = Slots(registry)
        self.server = Server()
        self.taken: list[int] = []

        async def start(item: Delivery, permit: Any) -> None:
            self.taken.append(item.stream_sequence)
            slots.release(permit)

        bus: Any = None
        self.lane = Lane(bus, slots, Dealer(slots), ("live", "ping", "any"), start, ack_wait=30.0)
        pull: Any = self.server
        self.lane._pull = pull

    async def asked(self, pulls: int) -> None:
        await eventually(lambda: self.server.asked >= pulls)

    async def took(self, sequence: int) -> None:
        await eventually(lambda: self.taken[-1:] == [sequence])


@pytest.fixture
async def scene() -> Any:
    scene = Scene()
    task = asyncio.get_running_loop().create_task(scene.lane.run())
    yield scene
    task.cancel()
    await asyncio.wait([task])


async def test_a_job_that_the_server_had_not_counted_yet_is_asked_for_when_it_is_stored(scene: Scene) -> None:
    scene.lane.admitted()
    scene.lane.admitted()
    await scene.asked(1)
    scene.lane.stored(1)
    # The second job was on its way in when the first was sent: nothing is pending, the server says.
    scene.server.deliver(1, pending=0)
    await eventually(lambda: scene.taken == [1])
    scene.lane.stored(2)
    await scene.asked(2)
    scene.server.deliver(2, pending=0)
    await eventually(lambda: scene.taken == [1, 2])


async def test_nor_is_it_forgotten_when_its_answer_overtakes_the_delivery(scene: Scene) -> None:
    scene.lane.admitted()
    scene.lane.admitted()
    await scene.asked(1)
    scene.lane.stored(1)
    scene.lane.stored(2)
    scene.server.deliver(1, pending=0)
    await scene.asked(2)
    scene.server.deliver(2, pending=0)
    await eventually(lambda: scene.taken == [1, 2])


async def test_a_job_stored_as_its_pull_ends_is_asked_for_again(scene: Scene) -> None:
    scene.lane.admitted()
    await scene.asked(1)
    scene.lane.stored(1)
    scene.server.answers.put_nowait(Exhausted(1))
    await scene.asked(2)
    scene.server.deliver(1, pending=0)
    await eventually(lambda: scene.taken == [1])
    assert scene.lane.waiting == 0


async def test_a_job_that_another_anchor_took_is_asked_for_once_more_and_then_let_go(scene: Scene) -> None:
    scene.lane.admitted()
    await scene.asked(1)
    scene.lane.stored(1)
    scene.server.answers.put_nowait(Exhausted(1))
    await scene.asked(2)
    scene.server.answers.put_nowait(Exhausted(1))
    await eventually(lambda: scene.lane.waiting == 0)
    assert scene.server.asked == 2


async def test_one_job_after_another_costs_one_pull_each(scene: Scene) -> None:
    for sequence in range(1, 6):
        scene.lane.admitted()
        await scene.asked(sequence)
        scene.lane.stored(sequence)
        scene.server.deliver(sequence, pending=0)
        await scene.took(sequence)
    assert (scene.server.asked, scene.lane.waiting) == (5, 0)
