"""What an Anchor notices of its workers against a real server, and what it does with it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from contracts import clock, codec, subjects
from contracts.access import roles
from contracts.errors import Refused
from contracts.jobs import Call
from contracts.modules import HEADER_PROBE, Health, Routed
from tests.kit.anchor import AnchorProcess, Client, ScriptedWorker, answers, workers
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer, nats_server
from tests.kit.node import Node, deploy
from tests.kit.wheels import FUNCTIONS, wheel_of


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path, nodes=("n1", "n2")) as running:
        yield running


@pytest.fixture
async def anchor(server: NatsServer) -> AsyncIterator[AnchorProcess]:
    process = AnchorProcess(server, breaker_open="1")
    await process.start()
    yield process
    await process.close()


pytestmark = pytest.mark.usefixtures("anchor")


@pytest.fixture
async def client(server: NatsServer) -> Client:
    return await Client.open(server)


class Anchors:
    """What the Anchor says of the instances that it does not use fully."""

    def __init__(self) -> None:
        self.last: Health | None = None

    async def heard(self, msg: Msg) -> None:
        self.last = codec.decode(msg.data, Health)

    def of(self, worker: ScriptedWorker) -> Routed | None:
        found = self.last.routing if self.last else []
        return next((one for one in found if one.instance == worker.instance), None)


@pytest.fixture
async def says(server: NatsServer) -> Anchors:
    anchors = Anchors()
    listener = await server.connect(roles.OPERATOR, "operator")
    await listener.nc.subscribe(subjects.health("anchor1"), cb=anchors.heard)
    await listener.settle()
    return anchors


async def served(client: Client, *group: ScriptedWorker) -> None:
    """Wait until each of these workers has had a job."""

    async def one_more() -> bool:
        try:
            await client.result((await client.submit()).job)
        except Refused:
            return False
        return all(worker.calls for worker in group)

    await eventually(one_more, within=15)


class Holds:
    """Jobs with parameters wait for `release`; others are answered at once."""

    def __init__(self, taken: asyncio.Event, release: asyncio.Event) -> None:
        self.taken = taken
        self.release = release

    async def __call__(self, worker: ScriptedWorker, call: Call) -> None:
        if call.params:
            self.taken.set()
            await self.release.wait()
        await worker.store(call)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "found by asking"])
async def test_a_worker_whose_connection_ends_is_down_within_a_second_and_its_jobs_run_elsewhere(
    server: NatsServer, client: Client, announced: bool
) -> None:
    taken = asyncio.Event()
    victim = ScriptedWorker(server, Holds(taken, asyncio.Event()), concurrency=1)
    other = ScriptedWorker(server, answers, node="n2")
    try:
        await victim.start(announce=announced)
        await served(client, victim)
        receipt = await client.submit(params={"x": 1})
        await taken.wait()
        async with workers(other):
            began = clock.monotonic_ns()
            await victim.vanish()
            result = await client.result(receipt.job)
            took_s = (clock.monotonic_ns() - began) / 1e9
    finally:
        await victim.vanish()
    assert result.by == other.instance
    # The heartbeat alone would take five seconds.
    assert took_s < 3
    (retried,) = [event for event in client.events[receipt.job] if event.event == "retried"]
    assert "disconnected: Client Closed" in retried.reason


async def test_a_worker_that_reconnects_keeps_its_jobs(server: NatsServer, client: Client) -> None:
    taken, release = asyncio.Event(), asyncio.Event()
    worker = ScriptedWorker(server, Holds(taken, release))
    async with workers(worker, ScriptedWorker(server, answers, node="n2")):
        await served(client, worker)
        receipt = await client.submit(params={"x": 1}, node="n1")
        await taken.wait()
        await worker.blip()
        # New jobs go there again, so it is up; the one in hand still runs there.
        await client.result((await client.submit(node="n1")).job)
        release.set()
        result = await client.result(receipt.job)
        story = await client.story(receipt.job)
        await client.drained()
    assert result.by == worker.instance
    assert story == ["accepted", "dispatched", "rerouted", "finished"]
    assert [call.job for call in worker.calls].count(receipt.job) == 1


async def test_a_worker_that_was_down_comes_back_when_it_proves_itself(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await served(client, worker)
        # For a moment nobody listens, as while a server restarts.
        listen_again = await worker.stop_listening()
        receipt = await client.submit()
        await eventually(lambda: "worker does not listen" in anchor.log.read_text(), within=5)
        await listen_again()
        result = await client.result(receipt.job, within=10)
    assert result.by == worker.instance


async def test_a_worker_that_is_deaf_while_its_heart_beats_is_found(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    zombie, other = ScriptedWorker(server, answers), ScriptedWorker(server, answers, node="n2")
    async with workers(zombie, other):
        await served(client, zombie, other)
        await eventually(lambda: zombie.probed, within=5)
        zombie.deafen()
        # Calls already on the way to it, all its slots taken: work that hides nothing.
        lost = [(await client.submit(node="n1")).job for _ in range(zombie.limits.concurrency)]
        await eventually(lambda: "work endpoint does not answer" in anchor.log.read_text(), within=20)
        assert await worker_answers_srv(client, zombie)
        for job in lost:
            await client.story(job, "retried")
        for _ in range(8):
            assert (await client.result((await client.submit()).job)).by == other.instance


async def worker_answers_srv(client: Client, worker: ScriptedWorker) -> bool:
    msg = await client.bus.nc.request(subjects.service("INFO", "ping", worker.instance), timeout=2)
    return bool(msg.data)


async def test_a_busy_worker_is_not_taken_for_a_deaf_one(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    taken, release = asyncio.Event(), asyncio.Event()
    worker = ScriptedWorker(server, Holds(taken, release), concurrency=1)
    async with workers(worker):
        await served(client, worker)
        await eventually(lambda: worker.probed, within=5)
        receipt = await client.submit(params={"x": 1})
        await taken.wait()
        # One probe waits behind the job like a call, and five seconds later the next is refused.
        await eventually(lambda: worker.waiting, within=15)
        await eventually(lambda: worker.rejected, within=15)
        release.set()
        assert (await client.result(receipt.job)).by == worker.instance
        await client.result((await client.submit()).job)
    assert "does not answer" not in anchor.log.read_text()


async def test_a_probe_is_answered_and_is_no_job(server: NatsServer, client: Client) -> None:
    worker = ScriptedWorker(server, answers)
    async with workers(worker):
        await served(client, worker)
        await eventually(lambda: worker.probed, within=5)
        calls = len(worker.calls)
        await eventually(lambda: worker.probed > 1, within=15)
    assert len(worker.calls) == calls
    assert HEADER_PROBE == "Mmn-Probe"


async def test_a_slowed_instance_is_given_less(server: NatsServer, client: Client, says: Anchors) -> None:
    slow, fast = ScriptedWorker(server, answers, concurrency=8), ScriptedWorker(server, answers, concurrency=8)
    async with workers(slow, fast):
        await served(client, slow, fast)
        slow.queue_ns = 300_000_000

        async def learned() -> bool:
            await asyncio.gather(*(done(client) for _ in range(20)))
            shown = says.of(slow)
            return shown is not None and shown.limit <= 4

        await eventually(learned, within=30)
        assert says.of(fast) is None
        slow.calls.clear()
        fast.calls.clear()
        for _ in range(10):
            await asyncio.gather(*(done(client) for _ in range(12)))
    assert len(fast.calls) > 1.3 * len(slow.calls)


async def done(client: Client) -> str:
    return (await client.result((await client.submit()).job)).by


async def test_an_instance_that_faults_is_ejected_and_comes_back(
    server: NatsServer, client: Client, says: Anchors
) -> None:
    sick = asyncio.Event()

    async def sometimes(worker: ScriptedWorker, call: Call) -> None:
        if sick.is_set():
            raise Refused(500, "worker-fault", "boom")
        await worker.store(call)

    bad, good = ScriptedWorker(server, sometimes), ScriptedWorker(server, answers)
    async with workers(bad, good):
        await served(client, bad, good)
        sick.set()

        async def ejected() -> bool:
            await done(client)
            shown = says.of(bad)
            return shown is not None and shown.ejected

        await eventually(ejected, within=20)
        assert says.last is not None
        assert says.last.breakers == [bad.instance]
        sick.clear()
        bad.calls.clear()

        async def back() -> bool:
            await done(client)
            return says.of(bad) is None and len(bad.calls) > 3

        await eventually(back, within=30)


async def test_one_bad_instance_of_three_ejects_nobody_else_and_fails_no_job(
    server: NatsServer, client: Client, says: Anchors
) -> None:
    async def fails(_worker: ScriptedWorker, _call: Call) -> None:
        raise Refused(500, "worker-fault", "boom")

    bad = ScriptedWorker(server, fails)
    good = [ScriptedWorker(server, answers), ScriptedWorker(server, answers, node="n2")]
    async with workers(bad, *good):
        await served(client, *good)
        by = Counter([await done(client) for _ in range(60)])
        await eventually(lambda: (shown := says.of(bad)) is not None and shown.ejected, within=10)
        assert all(says.of(worker) is None for worker in good)
    assert set(by) == {worker.instance for worker in good}


async def test_when_everybody_faults_nobody_is_ejected_and_retries_are_bounded(
    server: NatsServer, client: Client, says: Anchors
) -> None:
    sick = asyncio.Event()

    async def fails(worker: ScriptedWorker, call: Call) -> None:
        if sick.is_set():
            raise Refused(500, "worker-fault", "boom")
        await worker.store(call)

    group = [ScriptedWorker(server, fails), ScriptedWorker(server, fails, node="n2")]
    async with workers(*group):
        await served(client, *group)
        for worker in group:
            worker.calls.clear()
        sick.set()
        jobs = [(await client.submit()).job for _ in range(60)]
        results = [await client.result(job, within=20) for job in jobs]
        await eventually(lambda: says.last is not None and len(says.last.breakers) == 2, within=5)
        assert says.last is not None
        assert not any(one.ejected for one in says.last.routing)
    details = [result.failure.detail for result in results if result.failure]
    assert len(details) == 60
    assert any("too many jobs failed lately" in detail for detail in details)
    # Without a budget it would be three calls a job.
    assert sum(len(worker.calls) for worker in group) < 60 * 2


async def test_a_lost_worker_with_many_jobs_in_hand_loses_none_of_them(server: NatsServer, client: Client) -> None:
    taken = asyncio.Event()
    victim = ScriptedWorker(server, Holds(taken, asyncio.Event()), concurrency=64)
    other = ScriptedWorker(server, answers, node="n2", concurrency=64)
    async with workers(victim):
        await served(client, victim)
        jobs = [(await client.submit(params={"x": 1})).job for _ in range(64)]
        await eventually(lambda: len([call for call in victim.calls if call.params]) == 64, within=10)
        async with workers(other):
            await victim.vanish()
            results = [await client.result(job, within=10) for job in jobs]
    assert {result.by for result in results} == {other.instance}
    assert not any(result.failure for result in results)


async def test_a_killed_runtime_costs_its_workers_within_a_second_or_two(
    server: NatsServer, anchor: AnchorProcess, client: Client
) -> None:
    """Nobody is left to announce anything; the server sees the connections of its workers end."""
    node = Node(server)
    await node.start()
    try:
        await deploy(client.bus, wheel_of(FUNCTIONS / "echo"))

        async def accepted() -> bool:
            try:
                await client.submit(function="echo")
            except Refused:
                return False
            return True

        await eventually(accepted, within=30)
        await client.drained()
        began = clock.monotonic_ns()
        await node.kill()
        await eventually(lambda: "disconnected: Client Closed" in anchor.log.read_text(), within=5)
        took_s = (clock.monotonic_ns() - began) / 1e9
    finally:
        await node.close()
    # Heartbeats would take five.
    assert took_s < 3
