"""Workers die, hang, are replaced and given up; runtimes stop and are killed."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import codec, streams, subjects
from contracts.bus import Bus
from contracts.errors import Refused
from contracts.modules import Health, Trouble
from contracts.service import raise_refusal
from contracts.tail import stream_status
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.node import (
    Announcements,
    Node,
    alive,
    call,
    deploy,
    discovered,
    put_deployment,
    send_signal,
    stored_result,
)
from tests.kit.wheels import BUNDLES, FUNCTIONS, build_wheel, wheel_of

ECHO = wheel_of(FUNCTIONS / "echo")


async def test_a_killed_worker_is_announced_at_once_and_replaced(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    await deploy(gateway, ECHO)
    first = await announced.next("ready", "echo")
    assert first.pid is not None
    killed = time.monotonic()
    send_signal(first.pid, signal.SIGKILL)
    failed = await announced.next("failed", "echo")
    assert time.monotonic() - killed < 1.0
    assert (failed.instance, failed.reason) == (first.instance, "killed by signal 9")
    second = await announced.next("ready", "echo", count=2)
    await call(anchor, "echo", second.instance)
    assert node.processes() == [node.processes()[0], second.pid]


async def test_a_worker_whose_loop_is_blocked_is_killed_and_replaced(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    await deploy(gateway, wheel_of(BUNDLES / "busy-loop"))
    first = await announced.next("ready", "busy-loop")
    reply, _ = await call(anchor, "busy-loop", first.instance, {"seconds": 0.3})
    assert reply.failure is None
    with pytest.raises(TimeoutError):
        await call(anchor, "busy-loop", first.instance, {"seconds": 60}, within=0.5)
    failed = await announced.next("failed", "busy-loop")
    assert failed.reason == "no heartbeat for 1.0 s: killed"
    await announced.next("ready", "busy-loop", count=2)
    assert first.pid is not None
    assert not alive(first.pid)
    # It was asked where it stands before it was killed.
    assert "in measure" in node.log.read_text()


async def test_five_short_lives_are_a_crash_loop_until_the_deployment_changes(
    node: Node, gateway: Bus, announced: Announcements
) -> None:
    deployment = await deploy(gateway, wheel_of(BUNDLES / "crashes-at-import"))

    def given_up() -> list[str]:
        reasons = [failed.reason for failed in announced.of("failed", "crashes-at-import")]
        return [reason for reason in reasons if reason.startswith("crash loop: 5 lives")]

    await eventually(lambda: len(given_up()) == 1, within=20.0)
    assert len(announced.of("failed", "crashes-at-import")) == 5
    assert given_up()[0].endswith("the last one: cannot be loaded: RuntimeError: broken on purpose")

    async def troubles() -> list[Trouble]:
        beat = await gateway.js.get_last_msg(streams.HEALTH, subjects.health("n1"))
        return codec.decode(beat.data or b"", Health).troubles

    async def hopeless() -> bool:
        return any(one.given_up and one.reason == given_up()[0] for one in await troubles())

    await eventually(hopeless)
    (zygote,) = node.processes()
    assert alive(zygote)
    for enabled in (False, True):
        await put_deployment(gateway, replace(deployment, enabled=enabled))
    await eventually(lambda: len(given_up()) == 2, within=20.0)
    await put_deployment(gateway, replace(deployment, enabled=False))

    async def nothing() -> bool:
        return await troubles() == []

    await eventually(nothing)


async def test_a_new_version_is_ready_before_the_old_one_stops(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    assert node is not None
    await deploy(gateway, ECHO, workers=2)
    await announced.next("ready", "echo", count=2)
    old = announced.of("ready", "echo")[0].instance
    slow = asyncio.ensure_future(call(anchor, "echo", old, {"delay_ms": 1500}))
    await deploy(gateway, wheel_of(FUNCTIONS / "echo", version="1.1.0"), workers=2)
    await announced.next("stopped", "echo", count=2)
    events = [(a.event, a.version) for a in announced.all if a.event in {"ready", "draining"}]
    assert events.index(("ready", "1.1.0")) < events.index(("draining", "1.0.0"))
    assert [a.version for a in announced.of("stopped", "echo")] == ["1.0.0", "1.0.0"]
    # What ran on the old version was finished there.
    reply, _ = await slow
    assert (reply.instance, reply.failure) == (old, None)


async def test_a_version_that_never_becomes_ready_takes_nothing_away(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    assert node is not None
    await deploy(gateway, ECHO)
    old = await announced.next("ready", "echo")
    broken = wheel_of(FUNCTIONS / "echo", version="1.1.0", extra="\nraise RuntimeError('of no use')\n")
    await deploy(gateway, broken)
    await announced.next("failed", "echo", count=5, version="1.1.0")
    reply, _ = await call(anchor, "echo", old.instance)
    assert reply.instance == old.instance
    # The old version is now what is kept running, so it is replaced when it dies.
    assert old.pid is not None
    send_signal(old.pid, signal.SIGKILL)
    again = await announced.next("ready", "echo", count=2)
    assert again.version == "1.0.0"


async def test_a_failing_self_test_keeps_a_version_from_becoming_ready(
    node: Node, gateway: Bus, announced: Announcements
) -> None:
    assert node is not None
    code = (BUNDLES / "raises" / "raises" / "__init__.py").read_text()
    manifest = 'summary = "Fails."\n[self_test]\nhow = "{}"\n'
    await deploy(gateway, build_wheel("fails", code=code, manifest=manifest.format("value-error")))
    await deploy(gateway, build_wheel("measures", code=code, manifest=manifest.format("measured")))
    failed = await announced.next("failed", "fails")
    assert failed.reason == "self-test: ValueError: of no use"
    # A target that does not answer is what a measurement may find.
    await announced.next("ready", "measures")
    # And a node that lacks a privilege says so, in place of an answer to every job.
    await deploy(gateway, build_wheel("lacks", code=code, manifest=manifest.format("cannot-measure")))
    assert (await announced.next("ready", "lacks")).reason == "cannot measure here: no privilege here"


async def test_scaling_and_disabling_drain_what_is_too_many(node: Node, gateway: Bus, announced: Announcements) -> None:
    deployment = await deploy(gateway, ECHO, workers=3)
    await announced.next("ready", "echo", count=3)
    await put_deployment(gateway, replace(deployment, workers=1))
    await announced.next("stopped", "echo", count=2)
    assert [a.reason for a in announced.of("draining", "echo")] == ["scaled to 1", "scaled to 1"]
    await put_deployment(gateway, replace(deployment, enabled=False))
    await announced.next("stopped", "echo", count=3)
    await eventually(lambda: len(node.processes()) == 1)


async def test_a_deployment_for_other_labels_starts_nothing_here(
    node: Node, gateway: Bus, announced: Announcements
) -> None:
    assert node is not None
    await deploy(gateway, wheel_of(BUNDLES / "raises"), match={"site": "elsewhere"})
    await deploy(gateway, ECHO, match={"site": "lab"})
    await announced.next("ready", "echo")
    assert not announced.of("started", "raises")


async def test_restart_and_drain_by_request(node: Node, gateway: Bus, announced: Announcements) -> None:
    await deploy(gateway, ECHO)
    first = await announced.next("ready", "echo")

    async def ask(verb: str, body: bytes) -> bytes:
        msg = await gateway.nc.request(subjects.node_control("n1", verb), body, timeout=5)
        raise_refusal(msg.headers)
        return msg.data

    with pytest.raises(Refused, match="is not deployed"):
        await ask("restart", b'{"function":"nothing"}')
    await ask("restart", b'{"function":"echo"}')
    second = await announced.next("ready", "echo", count=2)
    assert (await announced.next("stopped", "echo")).instance == first.instance
    assert b'"draining"' in await ask("drain", b"")
    assert (await announced.next("stopped", "echo", count=2)).instance == second.instance
    await eventually(lambda: len(node.processes()) == 1)
    assert announced.of("stopped", "echo")[1].reason == "the node is draining"
    await node.stop()
    await node.start()
    await eventually(lambda: ask("drain", b""), within=15)
    assert len(announced.of("started", "echo")) == 2, "a restarted runtime keeps to it"
    await ask("drain", b'{"on":false}')
    await announced.next("ready", "echo", count=3)
    await ask("restart", b"")
    await announced.next("ready", "echo", count=4)


async def test_sigterm_finishes_jobs_and_leaves_no_process(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    await deploy(gateway, ECHO, workers=2)
    await announced.next("ready", "echo", count=2)
    processes = node.processes()
    assert len(processes) == 3
    slow = asyncio.ensure_future(call(anchor, "echo", announced.of("ready", "echo")[0].instance, {"delay_ms": 800}))

    async def running() -> bool:
        return (await stream_status(gateway, streams.PROGRESS)).state.messages > 0

    await eventually(running)
    assert await node.stop() == 0
    assert (await slow)[0].failure is None
    assert not [pid for pid in processes if alive(pid)]
    assert [a.event for a in announced.all].count("stopped") == 2
    assert not list((node.state_dir / "scratch").iterdir())


async def test_sigkill_of_the_runtime_ends_the_zygote_and_every_worker(
    node: Node, gateway: Bus, announced: Announcements
) -> None:
    await deploy(gateway, ECHO, workers=3)
    await announced.next("ready", "echo", count=3)
    processes = node.processes()
    assert len(processes) == 4
    await node.kill()
    await eventually(lambda: not [pid for pid in processes if alive(pid)], within=2.0)


async def test_a_dead_zygote_is_replaced_and_its_workers_too(
    node: Node, gateway: Bus, announced: Announcements
) -> None:
    await deploy(gateway, ECHO, workers=2)
    await announced.next("ready", "echo", count=2)
    zygote, *workers = node.processes()
    send_signal(zygote, signal.SIGKILL)
    await announced.next("ready", "echo", count=4)
    assert not [pid for pid in [zygote, *workers] if alive(pid)]
    assert {a.reason for a in announced.of("failed", "echo")} == {"ended together with the zygote"}


async def test_a_worker_sees_nothing_of_its_runtime(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    await deploy(gateway, wheel_of(BUNDLES / "exits"))
    ready = await announced.next("ready", "exits")
    proc = Path(f"/proc/{ready.pid}")
    assert (proc / "environ").read_bytes() == b""
    opened = {int(fd.name): str(fd.readlink()) for fd in (proc / "fd").iterdir()}
    assert opened[0] == os.devnull
    assert opened[1] == opened[2]
    assert opened[1].startswith("pipe:")
    # The pair, the loop's own, the log's /dev/null, and the one connection: no file, no listening socket.
    others = sorted(target.partition(":")[0] for number, target in opened.items() if number > 2)
    assert set(others) <= {"socket", "anon_inode", "pipe", os.devnull}
    assert others.count("socket") <= 4
    assert str(node.state_dir) not in " ".join(opened.values())
    reply, _ = await call(anchor, "exits", ready.instance, {"how": "look"})
    data = (await stored_result(gateway, reply.job)).data
    assert data is not None
    assert data["environment"] == {}
    assert data["folder"] == str(node.state_dir / "scratch" / ready.instance)


async def test_what_a_worker_leaves_behind_ends_with_it(
    server: NatsServer, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    # With these, it could not even make a process.
    node = Node(server, box_without='["landlock","seccomp"]')
    await node.start()
    try:
        await deploy(gateway, wheel_of(BUNDLES / "exits"))
        ready = await announced.next("ready", "exits")
        reply, _ = await call(anchor, "exits", ready.instance, {"how": "child"})
        data = (await stored_result(gateway, reply.job)).data
        assert data is not None
        assert alive(data["child"])
        with pytest.raises(TimeoutError):
            await call(anchor, "exits", ready.instance, {"how": "code", "code": 3}, within=0.5)
        failed = await announced.next("failed", "exits")
        assert failed.reason == "exited by itself with code 3; last line: going away"
        await eventually(lambda: not alive(data["child"]))
    finally:
        await node.close()


async def test_a_worker_over_its_memory_is_killed(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    assert node is not None
    await deploy(gateway, wheel_of(BUNDLES / "exits"))
    ready = await announced.next("ready", "exits")
    with pytest.raises(TimeoutError):
        await call(anchor, "exits", ready.instance, {"how": "memory"}, within=2.5)
    failed = await announced.next("failed", "exits")
    assert "over its limit of 64: killed" in failed.reason


async def test_a_node_outlives_a_restart_of_nats(
    server: NatsServer, node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    await deploy(gateway, ECHO)
    ready = await announced.next("ready", "echo")
    await server.stop()
    await server.start()

    async def answers() -> bool:
        reply, _ = await call(anchor, "echo", ready.instance, within=1.0)
        return reply.instance == ready.instance

    await eventually(answers, within=15.0)
    assert (await discovered(anchor, "echo", ready.instance))["id"] == ready.instance
    # It still follows the deployments.
    await eventually(lambda: gateway.nc.is_connected)
    await deploy(gateway, wheel_of(BUNDLES / "raises"))
    await announced.next("ready", "raises")
    assert ready.pid in node.processes()
    assert not announced.of("failed", "echo")


async def test_a_worker_that_cannot_reach_nats_is_never_a_crash_loop(
    server: NatsServer, node: Node, gateway: Bus, announced: Announcements
) -> None:
    await deploy(gateway, ECHO)
    ready = await announced.next("ready", "echo")
    assert ready.pid is not None
    await server.stop()
    send_signal(ready.pid, signal.SIGKILL)
    await eventually(lambda: node.log.read_text().count("cannot connect to NATS") >= 5, within=20.0)
    await server.start()
    again = await announced.next("ready", "echo", count=2)
    assert again.instance != ready.instance
    assert not [a for a in announced.all if "crash loop" in a.reason]


async def test_a_runtime_stops_in_order_without_nats(
    server: NatsServer, node: Node, gateway: Bus, announced: Announcements
) -> None:
    await deploy(gateway, ECHO, workers=2)
    await announced.next("ready", "echo", count=2)
    processes = node.processes()
    await server.stop()
    assert await node.stop(within=20.0) == 0
    assert not [pid for pid in processes if alive(pid)]


async def test_a_worker_outlives_its_first_token(
    server: NatsServer, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    node = Node(server, worker_lifetime_s="4")
    await node.start()
    try:
        await deploy(gateway, ECHO)
        ready = await announced.next("ready", "echo")
        began = time.monotonic()

        async def answers_after_expiry() -> bool:
            reply, _ = await call(anchor, "echo", ready.instance, within=0.5)
            return reply.instance == ready.instance and time.monotonic() - began > 5.5

        await eventually(answers_after_expiry, within=10.0)
        assert not announced.of("failed", "echo")
    finally:
        await node.close()


async def test_a_runtime_that_was_away_itself_kills_nobody(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    await deploy(gateway, ECHO, workers=2)
    ready = [await announced.next("ready", "echo", count=count) for count in (1, 2)]
    send_signal(node.pid, signal.SIGSTOP)
    try:
        # The workers serve on meanwhile.
        slow = [call(anchor, "echo", worker.instance, {"delay_ms": 2500}) for worker in ready]
        await asyncio.gather(*slow)
    finally:
        send_signal(node.pid, signal.SIGCONT)
    await asyncio.gather(*(call(anchor, "echo", worker.instance, {"delay_ms": 1200}) for worker in ready))
    assert not announced.of("failed", "echo")
