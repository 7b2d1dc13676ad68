import asyncio
import random

from anchor.registry import Instance, Registry
from anchor.slots import Slots
from tests.unit.anchor.builders import card


def slots() -> tuple[Registry, Slots]:
    registry = Registry()
    found = Slots(registry, chance=random.Random(1))
    registry.ready("n1_a", "n1", card(concurrency=2), {}, 0)
    registry.ready("n2_b", "n2", card(concurrency=3), {}, 0)
    return registry, found


def taken(found: Slots, place: str) -> list[Instance]:
    """Every permit that there is."""
    permits: list[Instance] = []
    while (permit := found.take("ping", place)) is not None:
        permits.append(permit)
    return permits


def test_no_more_permits_than_slots_are_given() -> None:
    _, found = slots()
    assert len(taken(found, "any")) == 5
    assert found.take("ping", "any") is None


def test_a_place_takes_slots_of_its_node_only() -> None:
    _, found = slots()
    assert {instance.node for instance in taken(found, "n1")} == {"n1"}


def test_a_released_slot_is_told_with_its_node() -> None:
    _, found = slots()
    told: list[tuple[str, str | None]] = []
    found.on_free = lambda function, node: told.append((function, node))
    permit = found.take("ping", "any")
    assert permit is not None
    found.release(permit)
    assert told == [("ping", permit.node)]


async def test_waiting_ends_with_the_first_free_slot() -> None:
    _, found = slots()
    permits = taken(found, "any")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(found.wait("ping", "any", avoid=(), within=5.0))
        await asyncio.sleep(0)
        assert not waiting.done()
        found.release(permits[0])
    assert waiting.result() is permits[0]


async def test_waiting_ends_with_nothing_at_the_deadline() -> None:
    _, found = slots()
    taken(found, "any")
    assert await found.wait("ping", "any", avoid=(), within=0.05) is None


async def test_a_new_instance_ends_the_wait_for_another_than_the_failed_one() -> None:
    registry, found = slots()
    registry.lost("n2_b", "killed", 0)
    async with asyncio.TaskGroup() as tasks:
        first = found.take("ping", "any")
        assert first is not None
        waiting = tasks.create_task(found.wait("ping", "any", avoid=[], within=5.0))
        await asyncio.sleep(0)
        registry.ready("n1_c", "n1", card(), {}, 0)
    assert waiting.result() is not None
