"""Budgets, queues and shedding on real Anchors: who is refused, with which word, and when to come back."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg

from contracts import clock, codec, subjects
from contracts.access import roles
from contracts.errors import Refused
from contracts.jobs import Call, JobReceipt
from contracts.modules import Health
from contracts.quotas import Spent, Tally
from tests.kit.anchor import AnchorProcess, Client, ScriptedWorker, answers, known, workers
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer, nats_server

TARGETS = {"type": "object", "properties": {"target": {"type": "string"}}, "additionalProperties": False}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path, nodes=("n1", "n2"), queue_bound=20) as running:
        yield running


@pytest.fixture
async def anchors(server: NatsServer, request: pytest.FixtureRequest) -> AsyncIterator[list[AnchorProcess]]:
    """As many as the parameter says, with these settings."""
    count, settings = getattr(request, "param", (1, {}))
    group = [AnchorProcess(server, f"anchor{number}", **settings) for number in range(1, count + 1)]
    try:
        for process in group:
            await process.start()
        yield group
    finally:
        for process in group:
            await process.close()


@pytest.fixture
async def client(server: NatsServer) -> Client:
    return await Client.open(server)


class Gate:
    """The behaviour of a worker that works only while the gate is open."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.opened.set()

    async def __call__(self, worker: ScriptedWorker, call: Call) -> None:
        await self.opened.wait()
        await worker.store(call)


class Healths:
    """The last that each Anchor said of itself."""

    def __init__(self) -> None:
        self.last: dict[str, Health] = {}

    @classmethod
    async def of(cls, server: NatsServer) -> "Healths":
        self = cls()

        async def heard(msg: Msg) -> None:
            health = codec.decode(msg.data, Health)
            if health.kind == "anchor":
                self.last[health.instance] = health

        listener = await server.connect(roles.OPERATOR, "operator")
        await listener.nc.subscribe(subjects.HEALTH, cb=heard)
        await listener.settle()
        return self


async def refused(client: Client, **fields: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await client.submit(**fields)
    assert caught.value.code == 429
    assert caught.value.retry_after is not None
    return caught.value


def accepted_by(client: Client, jobs: Iterable[str]) -> Counter[str]:
    return Counter(client.events[job][0].by for job in jobs if job in client.events)


# --- budgets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchors", [(2, {"client_rate": "20", "client_burst": "20"})], indirect=True, ids=["two"])
@pytest.mark.usefixtures("anchors")
async def test_two_anchors_admit_one_budget_together(server: NatsServer, client: Client) -> None:
    jobs: list[str] = []

    async def insist(until_ns: int) -> None:
        while clock.monotonic_ns() < until_ns:
            try:
                jobs.append((await client.submit(who="ann")).job)
            except Refused as refusal:
                assert refusal.reason == "client-budget"  # noqa: PT017
            await asyncio.sleep(0.005)

    async with workers(ScriptedWorker(server, answers, concurrency=16)):
        await known(client)
        began = clock.monotonic_ns()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(insist(began + 4_000_000_000))
        took_s = (clock.monotonic_ns() - began) / 1e9
        await eventually(lambda: len(accepted_by(client, jobs)) == 2, within=5)
        await client.submit(who="bob")
    budget = 20 + 20 * took_s
    # Each Anchor may be ahead of the other by what it takes until it tells; alone, both would take two budgets.
    assert 0.7 * budget <= len(jobs) <= 1.25 * budget + 4


@pytest.mark.parametrize("anchors", [(1, {"client_rate": "0.05", "client_burst": "5"})], indirect=True, ids=["one"])
async def test_a_new_anchor_knows_what_is_spent_before_it_takes_a_job(
    server: NatsServer, client: Client, anchors: list[AnchorProcess]
) -> None:
    second = AnchorProcess(server, "anchor2", client_rate="0.05", client_burst="5")
    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        for _ in range(5):
            await client.submit(who="ann")
        first_word = await refused(client, who="ann")
        try:
            await second.start()
            assert await anchors[0].stop() == 0
            second_word = await refused(client, who="ann")
        finally:
            await second.close()
    assert {first_word.reason, second_word.reason} == {"client-budget"}
    assert "'ann'" in second_word.message
    assert 0 < (second_word.retry_after or 0) <= (first_word.retry_after or 0) <= 20


@pytest.mark.parametrize("anchors", [(1, {"target_rate": "0.05", "target_burst": "3"})], indirect=True, ids=["one"])
@pytest.mark.usefixtures("anchors")
async def test_a_target_is_protected_by_its_network_whoever_asks(server: NatsServer, client: Client) -> None:
    healths = await Healths.of(server)
    async with workers(ScriptedWorker(server, answers, params_schema=TARGETS)):
        await known(client)
        for number, who in enumerate(("ann", "bob", "eve")):
            await client.submit(who=who, params={"target": f"192.0.2.{number}"})
        refusal = await refused(client, who="dan", params={"target": "::ffff:192.0.2.200"})
        for _ in range(10):
            await client.submit(params={"target": "127.0.0.1"})
        await client.submit(params={"target": "198.51.100.1"})
        await eventually(lambda: healths.last.get("anchor1", EMPTY).refused.get("target-budget") == 1, within=5)
    assert refusal.reason == "target-budget"
    assert "'192.0.2.0/24'" in refusal.message
    assert "0.05 jobs a second, 3 at once" in refusal.message


EMPTY = Health(instance="", kind="anchor", state="up", at="")


@pytest.mark.parametrize("anchors", [(1, {"client_rate": "1", "client_burst": "10"})], indirect=True, ids=["one"])
async def test_what_another_anchor_says_is_counted_or_ignored_and_harms_nobody(
    server: NatsServer, client: Client, anchors: list[AnchorProcess]
) -> None:
    other = await server.connect(roles.ANCHOR, "anchor9")
    headers = {codec.HEADER: codec.MSGPACK}

    async def tell(tally: object) -> None:
        data = tally if isinstance(tally, bytes) else msgspec.msgpack.encode(tally)
        await other.nc.publish(subjects.spent("anchor9"), data, headers=headers)

    def spent(**changes: Any) -> dict[str, Any]:
        return {"anchor": "anchor9", "spent": [{"kind": "client", "key": "ann", "jobs": 10, "level": 10, **changes}]}

    async with workers(ScriptedWorker(server, answers)):
        await known(client)
        everything: list[object] = [
            b"\xc1",
            b"",
            [],
            spent(jobs=math.nan),
            spent(jobs=math.inf),
            spent(jobs=-1),
            spent(level=-math.inf),
            spent(kind="planet"),
            spent(key="x" * 1000),
            spent() | {"anchor": "anchor1"},
            spent() | {"anchor": "anchor2"},
            {"anchor": "anchor9", "held": [{"class": "live", "function": "ping", "place": "any", "jobs": -5}]},
        ]
        for junk in everything:
            await tell(junk)
        await other.flush()
        await client.submit(who="ann")
        flood = [Spent(kind="client", key=f"k{number}", jobs=1.0, level=1.0) for number in range(500)]
        for _ in range(40):
            await tell(Tally(anchor="anchor9", spent=flood, hello=True))
        await tell(spent())
        await other.flush()

        async def is_counted() -> bool:
            try:
                await client.submit(who="ann")
            except Refused as refusal:
                return refusal.reason == "client-budget"
            return False

        await eventually(is_counted, within=5)
        await client.submit(who="bob")
    assert "Traceback" not in anchors[0].log.read_text()


# --- queues --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("anchors")
async def test_a_full_queue_tells_when_a_tenth_of_it_will_have_gone(server: NatsServer, client: Client) -> None:
    gate = Gate()
    worker = ScriptedWorker(server, gate, concurrency=1)
    worker.run_ns = 2_000_000_000
    async with workers(worker):
        await known(client)
        gate.opened.clear()
        receipts: list[JobReceipt] = []
        with pytest.raises(Refused) as caught:
            await fill(client, receipts)
        gate.opened.set()
        await client.drained()
    assert (caught.value.code, caught.value.reason) == (429, "queue-full")
    # A tenth of 20 jobs, one at a time, two seconds each.
    assert caught.value.retry_after == 4.0
    assert "ping at any is full" in caught.value.message
    assert len(receipts) >= 20


async def fill(client: Client, receipts: list[JobReceipt], *, most: int = 50, **fields: Any) -> None:
    for _ in range(most):
        receipt = await client.submit(**fields)
        receipts.append(receipt)


@pytest.mark.usefixtures("anchors")
async def test_when_overload_begins_batch_is_refused_and_live_is_taken(server: NatsServer, client: Client) -> None:
    gate = Gate()
    async with workers(ScriptedWorker(server, gate, concurrency=1)):
        await known(client)
        await client.submit(job_class="batch")
        await client.drained()
        gate.opened.clear()
        receipts: list[JobReceipt] = []
        while not receipts or receipts[-1].queue_depth <= 11:
            await fill(client, receipts, most=1)
        refusal = await refused(client, job_class="batch")
        await fill(client, receipts, most=5)
        gate.opened.set()
        await client.drained()
        await client.submit(job_class="batch")
        await client.drained()
    assert refusal.reason == "shed"
    assert "more than half" in refusal.message


@pytest.mark.usefixtures("anchors")
async def test_live_goes_first_and_batch_moves_all_the_same(server: NatsServer, client: Client) -> None:
    gate = Gate()
    worker = ScriptedWorker(server, gate, concurrency=1)
    async with workers(worker):
        await known(client)
        await client.drained()
        gate.opened.clear()
        await client.submit()
        await eventually(lambda: len(worker.calls) >= 2, within=5)
        for _ in range(18):
            await client.submit(job_class="batch", params={"class": "batch"})
        for _ in range(18):
            await client.submit(params={"class": "live"})
        before = len(worker.calls)
        gate.opened.set()
        await client.drained()
    order = [str(call.params.get("class")) for call in worker.calls[before:]]
    # A slot may have been promised before the live jobs came; from then on nine of ten are theirs.
    assert order[:12].count("live") >= 9, order
    assert order[:12].count("batch") >= 1, order
    assert order[:19].count("batch") <= 4, order
    assert Counter(order) == {"live": 18, "batch": 18}


@pytest.mark.usefixtures("anchors")
async def test_a_job_that_would_wait_past_its_deadline_is_not_taken(server: NatsServer, client: Client) -> None:
    gate = Gate()
    worker = ScriptedWorker(server, gate, concurrency=1)
    worker.run_ns = 2_000_000_000
    async with workers(worker):
        await known(client)
        for _ in range(20):
            await client.result((await client.submit()).job)
        gate.opened.clear()
        receipts: list[JobReceipt] = []
        await fill(client, receipts, most=8)
        refusals = [await refused(client, job_class=one, deadline_s=2.0) for one in ("live", "batch")]
        assert (await client.submit(deadline_s=60.0)).queue_depth >= 6
        gate.opened.set()
        await client.drained()
    assert {refusal.reason for refusal in refusals} <= {"too-late", "shed"}
    assert refusals[0].reason == "too-late"
    assert "deadline is 2 s" in refusals[0].message


@pytest.mark.parametrize("anchors", [(2, {})], indirect=True, ids=["two"])
@pytest.mark.usefixtures("anchors")
async def test_the_receipt_of_either_anchor_tells_what_waits_for_both(server: NatsServer, client: Client) -> None:
    gate, healths = Gate(), await Healths.of(server)
    worker = ScriptedWorker(server, gate, concurrency=1)
    worker.run_ns = 3_000_000_000

    async def waiting() -> int:
        msg = await client.inspector.nc.request("$JS.API.CONSUMER.INFO.JOBS.live_ping_any", b"", timeout=2)
        return int(msgspec.json.decode(msg.data)["num_pending"])

    async def both_know() -> bool:
        pending = await waiting()
        return len(healths.last) == 2 and all(health.queue == pending for health in healths.last.values())

    async def both_have_run() -> bool:
        await client.result((await client.submit()).job)
        return len(healths.last) == 2 and all(health.done for health in healths.last.values())

    async with workers(worker):
        await known(client)
        await eventually(both_have_run, within=15)
        gate.opened.clear()
        for _ in range(6):
            await client.submit()
        told: set[str] = set()
        while len(told) < 2:
            await eventually(both_know, within=15)
            before = await waiting()
            receipt = await client.submit()
            assert receipt.queue_depth == before + 1
            assert receipt.expected_wait_ns is not None
            assert receipt.expected_wait_ns >= before * worker.run_ns
            await client.story(receipt.job, "accepted")
            told |= set(accepted_by(client, [receipt.job]))
        gate.opened.set()
        await client.drained()
