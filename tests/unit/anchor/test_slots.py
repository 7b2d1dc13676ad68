import asyncio
import random

from msgspec.structs import replace

from anchor.registry import Instance, Registry
from anchor.slots import Slots
from contracts.functions import Deployment, Manifest, Rollout
from tests.unit.anchor.builders import card


def slots() -> tuple[Registry, Slots]:
    registry = Registry()
    found = Slots(registry, chance=random.Random(1))
    registry.ready("n1_a", "n1", card(concurrency=2), {}, 0)
    registry.ready("n2_b", "n2", card(concurrency=3), {}, 0)
    return registry, found


def taken(found: Slots, place: str, at_most: int = 10_000) -> list[Instance]:
    """Every permit that there is, or so many."""
    permits: list[Instance] = []
    while len(permits) < at_most and (permit := found.take("ping", place)) is not None:
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


OLD, NEW = "0" * 64, "1" * 64
MANIFEST = Manifest(summary="x")


def on_its_way(weight: float, *, old: int = 1000, new: int = 1000) -> tuple[Registry, Slots]:
    """Two instances, one of each version, with so many slots."""
    registry = Registry()
    found = Slots(registry, chance=random.Random(1))
    rollout = Rollout(id="r", version="2.0.0", digest=NEW, manifest=MANIFEST, weight=weight)
    wish = Deployment(function="ping", version="1.0.0", digest=OLD, manifest=MANIFEST, rollout=rollout)
    registry.set_deployment("ping", wish)
    registry.ready("n1_old", "n1", card(concurrency=old, digest=OLD), {}, 0)
    registry.ready("n1_new", "n1", card(concurrency=new, digest=NEW), {}, 0)
    return registry, found


def test_a_version_on_its_way_gets_its_share_and_not_more() -> None:
    _, found = on_its_way(0.2)
    permits = taken(found, "any", 1000)
    assert 150 < sum(one.id == "n1_new" for one in permits) < 250


def test_while_the_old_version_is_busy_its_jobs_wait_however_often_they_ask() -> None:
    _, found = on_its_way(0.2, old=1)
    for _ in range(200):
        for permit in taken(found, "any", 1000):
            # Calls of the new version end at once, that of the old one never.
            if permit.id == "n1_new":
                found.release(permit)
    assert found.take("ping", "any") is None


def test_what_the_new_version_has_no_slot_for_goes_to_the_old_one() -> None:
    _, found = on_its_way(1.0, new=1)
    assert {one.id for one in taken(found, "any", 100)} == {"n1_old", "n1_new"}


def test_a_job_that_failed_before_or_asks_for_a_version_is_not_drawn() -> None:
    _, found = on_its_way(1.0)
    for _ in range(50):
        for permit, wanted in (
            (found.take("ping", "any", again=True), "n1_old"),
            (found.take("ping", "any", digest=OLD), "n1_old"),
            (found.take("ping", "any", digest=NEW), "n1_new"),
        ):
            assert permit is not None
            assert permit.id == wanted
    assert found.take("ping", "any", digest="2" * 64) is None


def test_parameters_are_checked_against_the_card_of_the_deployed_version() -> None:
    registry, _ = on_its_way(0.5)
    wish = registry.deployment("ping")[0]
    assert wish is not None
    found = registry.card("ping")
    assert found is not None
    assert found.digest == OLD
    registry.set_deployment("ping", replace(wish, digest=NEW, rollout=None))
    found = registry.card("ping")
    assert found is not None
    assert found.digest == NEW
