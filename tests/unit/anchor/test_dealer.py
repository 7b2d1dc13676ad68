import asyncio
import random
from dataclasses import dataclass, field

from anchor.dealer import Dealer
from anchor.registry import Instance, Registry
from anchor.slots import Slots
from tests.unit.anchor.builders import card


@dataclass(eq=False)
class Queue:
    """A lane that only counts."""

    key: tuple[str, str, str]
    waiting: int = 0
    granted: list[Instance] = field(default_factory=list)

    @property
    def wants(self) -> int:
        return self.waiting - len(self.granted)

    def grant(self, permit: Instance) -> None:
        self.granted.append(permit)


class Table:
    """A dealer over n1 with two slots and n2 with one."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.slots = Slots(self.registry, chance=random.Random(1))
        self.dealer = Dealer(self.slots)
        self.registry.ready("n1_a", "n1", card(concurrency=2), {}, 0)
        self.registry.ready("n2_b", "n2", card(concurrency=1), {}, 0)

    def queue(self, job_class: str, place: str, waiting: int) -> Queue:
        found = Queue((job_class, "ping", place), waiting)
        self.dealer.join(found)
        return found

    async def deal(self, *queues: Queue) -> None:
        for queue in queues:
            self.dealer.ask(queue)
        await asyncio.sleep(0)

    async def finish(self, queue: Queue, node: str | None = None) -> str:
        """One of a queue's jobs ends; returns the node whose slot is free again."""
        permit = next(one for one in queue.granted if node in {None, one.node})
        queue.granted.remove(permit)
        queue.waiting -= 1
        self.slots.release(permit)
        await asyncio.sleep(0)
        return permit.node


async def test_live_takes_the_slots_before_batch_whoever_asks_first() -> None:
    table = Table()
    batch, live = table.queue("batch", "any", 5), table.queue("live", "any", 2)
    await table.deal(batch, live)
    assert (len(live.granted), len(batch.granted)) == (2, 1)


async def test_no_slot_idles_because_a_queue_waits_that_cannot_use_it() -> None:
    table = Table()
    live, batch = table.queue("live", "n1", 5), table.queue("batch", "any", 5)
    await table.deal(live, batch)
    assert [one.node for one in live.granted] == ["n1", "n1"]
    assert [one.node for one in batch.granted] == ["n2"]


async def test_a_freed_slot_is_dealt_again_and_every_tenth_goes_to_batch() -> None:
    table = Table()
    live, batch = table.queue("live", "any", 1000), table.queue("batch", "any", 1000)
    await table.deal(live, batch)
    for _ in range(400):
        await table.finish(batch if batch.granted else live)
    finished = 1000 - batch.waiting
    assert 35 <= finished <= 45


async def test_a_node_with_a_queue_of_its_own_shares_its_slots_with_jobs_for_any_node() -> None:
    table = Table()
    own, anywhere = table.queue("live", "n2", 50), table.queue("live", "any", 50)
    table.registry.lost("n1_a", "killed", 0)
    await table.deal(own, anywhere)
    for _ in range(40):
        await table.finish(own if own.granted else anywhere)
    assert abs(own.waiting - anywhere.waiting) <= 1


async def test_a_new_instance_is_used_at_once() -> None:
    table = Table()
    live = table.queue("live", "any", 10)
    await table.deal(live)
    assert len(live.granted) == 3
    table.registry.ready("n3_c", "n3", card(concurrency=2), {}, 0)
    await asyncio.sleep(0)
    assert len(live.granted) == 5


async def test_a_closed_dealer_gives_nothing() -> None:
    table = Table()
    live = table.queue("live", "any", 10)
    table.dealer.close()
    await table.deal(live)
    assert not live.granted


async def test_a_job_in_hand_takes_a_freed_slot_before_those_that_wait_in_queues() -> None:
    table = Table()
    live = table.queue("live", "any", 10)
    await table.deal(live)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(table.slots.wait("ping", "any", avoid=(), within=5))
        await asyncio.sleep(0)
        permit = live.granted.pop()
        live.waiting -= 1
        table.slots.release(permit)
    assert waiting.result() is permit
    assert len(live.granted) == 2


async def test_a_queue_that_left_gets_no_slot() -> None:
    table = Table()
    leaves, stays = table.queue("live", "any", 3), table.queue("batch", "any", 3)
    table.dealer.leave(leaves)
    await table.deal(leaves, stays)
    assert (len(leaves.granted), len(stays.granted)) == (0, 3)
