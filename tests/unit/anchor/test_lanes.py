"""The lanes of an Anchor come with their first job, and go when nothing has come through them for long."""

import asyncio
import random
from typing import Any

from anchor.dealer import Dealer
from anchor.lanes import IDLE_NS, Key, Lane, Lanes
from anchor.registry import Registry
from anchor.slots import Slots
from contracts import clock
from contracts.jobs import Job, JobRequest

KEY: Key = ("live", "ping", "any")
JOB = Job(id="j", request=JobRequest(function="ping"), place="any", accepted="", deadline="")


class Table:
    """Lanes that never reach their stream: nobody has a slot for them."""

    def __init__(self) -> None:
        slots = Slots(Registry(), chance=random.Random(1))
        self.dealer = Dealer(slots)
        self.made: list[Key] = []
        bus: Any = None

        async def start(*_: object) -> None:
            raise AssertionError

        def make(key: Key) -> Lane:
            self.made.append(key)
            return Lane(bus, slots, self.dealer, key, start, ack_wait=30.0)

        self.lanes = Lanes(make, self.dealer)

    def count(self, stored: int, *, later_ns: int) -> None:
        known = {KEY: stored} if stored else {}
        self.lanes.counted(known, {}, self.lanes.marks(), clock.monotonic_ns() + later_ns)


async def test_a_lane_that_nothing_comes_through_is_let_go_and_made_again() -> None:
    table = Table()
    async with asyncio.TaskGroup() as tasks:
        table.lanes.run(tasks)
        table.lanes.admitted(JOB)
        await asyncio.sleep(0)
        table.count(0, later_ns=0)
        assert table.lanes.waiting == 0
        table.count(0, later_ns=IDLE_NS // 2)
        assert len(table.lanes) == 1
        table.count(0, later_ns=2 * IDLE_NS)
        assert len(table.lanes) == 0
        assert table.lanes.admitted(JOB).waiting == 1
        assert table.made == [KEY, KEY]
        await asyncio.sleep(0)
        table.count(0, later_ns=0)
        table.count(0, later_ns=2 * IDLE_NS)
    # The group has ended, and so the tasks of both.


async def test_a_lane_stays_while_jobs_wait_or_are_in_hand() -> None:
    table = Table()
    lane = table.lanes.of(JOB)
    table.count(3, later_ns=2 * IDLE_NS)
    assert (len(table.lanes), lane.waiting) == (1, 3)
    lane.held = 1
    table.count(1, later_ns=4 * IDLE_NS)
    assert (len(table.lanes), lane.waiting) == (1, 0)
    lane.held = 0
    table.count(0, later_ns=6 * IDLE_NS)
    assert len(table.lanes) == 0
