import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from contracts import streams
from contracts.tail import CaughtUp
from gateway.index import Index
from gateway.projection import Wanted
from tests.kit.eventually import eventually
from tests.unit.gateway.plane import ListSource
from tests.unit.gateway.test_projection import EVENTS, event, result


@contextlib.asynccontextmanager
async def running(index: Index, source: ListSource) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(index.run(source))
        yield
        task.cancel()
    await index.close()


async def test_it_reads_all_that_is_kept_and_then_what_comes() -> None:
    index, source = Index(None), ListSource()
    for one in EVENTS[:2]:
        source.add(streams.EVENTS, one)
    assert not index.complete
    async with running(index, source):
        await eventually(lambda: index.complete, within=5)
        waiting = asyncio.get_running_loop().create_task(index.until_result("j1", within=5))
        source.add(streams.RESULTS, result(1))
        found = await waiting
        assert found is not None
        assert found.job == "j1"


async def test_it_goes_on_behind_its_cursor(tmp_path: Path) -> None:
    source = ListSource()
    source.add(streams.EVENTS, EVENTS[0])
    first = Index(tmp_path / "index.sqlite")
    async with running(first, source):
        await eventually(lambda: first.complete, within=5)
    # Were it read again, this would not be there any more.
    source.records[streams.EVENTS] = [event(2, "accepted", job="j2")]
    second = Index(tmp_path / "index.sqlite")
    async with running(second, source):
        await eventually(lambda: second.complete, within=5)
        assert [row.id for row in (await second.jobs(Wanted())).jobs] == ["j2", "j1"]


async def test_a_stream_made_anew_while_it_was_away_begins_anew(tmp_path: Path) -> None:
    source = ListSource()
    for one in EVENTS:
        source.add(streams.EVENTS, one)
    first = Index(tmp_path / "index.sqlite")
    async with running(first, source):
        await eventually(lambda: first.complete, within=5)
    source.created = "two"
    source.records[streams.EVENTS] = [event(n, "accepted", job=f"n{n}", incarnation="two") for n in range(1, 9)]
    second = Index(tmp_path / "index.sqlite")
    async with running(second, source):
        await eventually(lambda: second.complete, within=5)
        assert {row.id for row in (await second.jobs(Wanted())).jobs} == {f"n{n}" for n in range(1, 9)}


async def test_waiting_ends_with_the_time_or_the_gateway() -> None:
    index = Index(None)
    assert await index.until_result("j1", within=0.01) is None
    waiting = asyncio.get_running_loop().create_task(index.until_result("j1", within=60))
    await asyncio.sleep(0)
    index.release()
    assert await waiting is None
    assert index._waiting == {}
    await index.close()


@pytest.mark.parametrize("count", [1, 1000])
async def test_a_batch_is_applied_in_one_step(count: int) -> None:
    index = Index(None)
    await index.take(streams.EVENTS, [event(n % 50 + 1, "accepted", job=f"j{n}") for n in range(count)])
    await index.take(streams.EVENTS, [CaughtUp()])
    await index.take(streams.RESULTS, [CaughtUp()])
    await index.take(streams.AUDIT, [CaughtUp()])
    assert index.complete
    assert await index.detail("j0") is not None
    await index.close()
