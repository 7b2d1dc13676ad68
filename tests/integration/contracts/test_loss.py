"""Nothing waits for ever, and what is lost on the way is noticed, counted and told."""

import asyncio
import signal

import nats.errors
import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from anchor.ledger import Ledger
from contracts import bus, codec, heart, subjects
from contracts.access import roles
from contracts.bus import Bus
from contracts.clock import utc_now
from contracts.errors import Unavailable
from contracts.failure import Code, failed
from contracts.jobs import Job, JobRequest
from contracts.modules import Health
from contracts.pull import PullError, PullInbox
from contracts.tail import stream_status
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.node import send_signal

JOB = Job(id="j1", request=JobRequest(function="echo"), place="any", accepted=utc_now(), deadline=utc_now())
LONGEST_S = 12.0
"""The library's flush waits ten seconds; everything else five or less."""


async def test_flush_is_not_overtaken_by_what_still_waits_to_be_written(server: NatsServer) -> None:
    """The library writes its PING past waiting messages, so their refusal came after the flush."""
    gateway = await server.connect(roles.GATEWAY, "gateway1")
    for _ in range(50):
        gateway.denied.clear()
        await gateway.nc.publish("mmn.fn.echo", b"x" * 100_000)
        await gateway.flush()
        assert len(gateway.denied) == 1


@pytest.mark.timeout(120)
async def test_every_step_of_the_job_path_ends_in_time_while_the_server_stands_still(server: NatsServer) -> None:
    """A publish whose ack never comes is the worst: nats-py's `publish_async` would wait for ever."""
    anchor, worker = await server.connect(roles.ANCHOR, "anchor1"), await server.connect(roles.GATEWAY, "gateway1")
    ledger = Ledger(anchor, "anchor1")
    pull = await PullInbox.open(anchor, "JOBS", "live_echo_any")
    send_signal(server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(LONGEST_S):
            outcomes = await asyncio.gather(
                anchor.js.publish("mmn.jobs.queue.live.echo.any", b"x"),
                ledger.close_job(JOB, failed(Code.EXPIRED)),
                ledger.claim(JOB),
                ledger.accepted("j1"),
                ledger.has_result("j1"),
                stream_status(anchor, "JOBS"),
                worker.js.publish("mmn.out.j.gateway1", b"x", timeout=2.0),
                anchor.flush(),
                pull.next(within=1.0),
                ledger.event(JOB, "finished"),
                return_exceptions=True,
            )
    finally:
        send_signal(server.pid, signal.SIGCONT)
    *waited, told = outcomes
    assert told is None, "an event is not waited for"
    assert [isinstance(outcome, Unavailable | nats.errors.Error | PullError) for outcome in waited] == [True] * 9


async def test_publishing_while_the_server_is_away_neither_waits_nor_grows_without_limit(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "MAX_PENDING_BYTES", 1_000_000)
    anchor = await server.connect(roles.ANCHOR, "anchor1")
    await server.stop()
    await eventually(lambda: not anchor.nc.is_connected)
    with capture_logs() as lines:
        async with asyncio.timeout(2):
            for _ in range(30):
                await anchor.publish("mmn.jobs.event.j", b"x" * 100_000)
    assert 19 <= anchor.dropped <= 21
    told = [line for line in lines if line["event"] == "messages dropped"]
    assert [line["reason"] for line in told] == ["outbound buffer is full"], "one line for many"
    await server.start()
    await eventually(lambda: anchor.reconnects)
    await anchor.flush()


async def test_messages_that_come_faster_than_they_are_taken_are_counted_and_reported(server: NatsServer) -> None:
    anchor, gateway = await server.connect(roles.ANCHOR, "anchor1"), await server.connect(roles.GATEWAY, "gateway1")
    release = asyncio.Event()
    taken = 0

    async def slow(_: Msg) -> None:
        nonlocal taken
        await release.wait()
        taken += 1

    await anchor.subscribe(subjects.SUBMIT, slow, most=5)
    await anchor.settle()
    with capture_logs() as lines:
        for _ in range(50):
            await gateway.nc.publish(subjects.SUBMIT, b"{}")
        await gateway.flush()
        # Five wait, and one may be in hand.
        await eventually(lambda: anchor.dropped in {44, 45})
    assert [line["subject"] for line in lines if line["event"] == "messages dropped"] == [subjects.SUBMIT]
    release.set()
    await eventually(lambda: taken == 50 - anchor.dropped)
    assert await reported(server, anchor) == anchor.dropped


async def reported(server: NatsServer, anchor: Bus) -> int:
    """What this process's heartbeat says of it."""
    beats: list[int] = []
    listener = await server.connect(roles.OPERATOR, "operator")

    async def take(msg: Msg) -> None:
        beats.append(codec.decode(msg.data, Health).dropped)

    await listener.subscribe(subjects.health("anchor1"), take)
    await listener.settle()
    health = Health(instance="anchor1", kind="anchor", state="up", at=utc_now())
    beating = asyncio.get_running_loop().create_task(heart.beat(anchor, lambda: health))
    try:
        await eventually(lambda: beats)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
    return beats[0]


async def test_answers_and_deliveries_wait_in_no_queue_that_could_run_over(server: NatsServer) -> None:
    anchor = await server.connect(roles.ANCHOR, "anchor1")
    inbox, count, seen = anchor.nc.new_inbox(), bus.MOST_WAITING + 1000, 0

    def hear(_: Msg) -> None:
        nonlocal seen
        seen += 1

    await anchor.listen(inbox, hear)
    await anchor.settle()
    for _ in range(count):
        await anchor.nc.publish(inbox, b"")
    await anchor.flush()
    await eventually(lambda: seen == count)
    assert anchor.dropped == 0


async def test_a_message_over_the_servers_limit_is_counted_and_ends_nothing(server: NatsServer) -> None:
    anchor = await server.connect(roles.ANCHOR, "anchor1")
    await anchor.publish("mmn.jobs.event.j", b"x" * (anchor.nc.max_payload + 1))
    await anchor.flush()
    assert (anchor.dropped, anchor.reconnects) == (1, 0)
