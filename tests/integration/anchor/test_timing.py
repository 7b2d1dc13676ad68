"""How soon a death or a standstill is seen: by the runtime's announcement, by the Anchor, by what people see."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
from nats.aio.msg import Msg

from contracts import clock, codec, subjects
from contracts.access import roles
from contracts.modules import DOWN_AFTER_S, SUSPECT_AFTER_S, Announcement, State
from gateway.network import Network
from tests.kit.anchor import Client
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.node import Announcements, Node, deploy, send_signal
from tests.kit.wheels import FUNCTIONS, wheel_of

pytestmark = [pytest.mark.usefixtures("anchor"), pytest.mark.timeout(120)]

AT_ONCE_S = 2.0
"""Within a second on a quiet machine; by heartbeats alone it would take two and a half at least."""
STANDSTILL_S = 5.0
SLACK_S = 1.5


@pytest.fixture
async def node(server: NatsServer) -> AsyncIterator[Node]:
    node = Node(server)
    await node.start()
    yield node
    await node.close()


@pytest.fixture
async def seen(server: NatsServer) -> AsyncIterator[Network]:
    """What a gateway knows."""
    network = Network(await server.connect(roles.GATEWAY, "gateway1"))
    task = asyncio.get_running_loop().create_task(network.run())
    yield network
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def echoes(server: NatsServer, node: Node, client: Client, seen: Network) -> list[Announcement]:
    """Two workers of `echo` on one node that run jobs, and that people see as up."""
    assert node is not None
    announced = await Announcements.open(await server.connect(roles.ANCHOR, "listener"))
    await deploy(client.bus, wheel_of(FUNCTIONS / "echo"), workers=2)
    await announced.next("ready", "echo", count=2)
    ready = announced.of("ready", "echo")
    await eventually(lambda: all(state(seen, one.instance) == "up" for one in ready), within=10)
    await ran(client)
    return ready


def state(seen: Network, instance: str) -> State | None:
    return next((module.state for module in seen.modules() if module.instance == instance), None)


async def ran(client: Client) -> str:
    """The instance that runs a job now."""

    async def done() -> str:
        job = (await client.submit(function="echo")).job
        return (await client.result(job)).by

    return await eventually(done, within=20)


async def gone(server: NatsServer, seen: Network, worker: Announcement, number: signal.Signals) -> dict[str, float]:
    """Send a signal to a worker. Returns when runtime, Anchor and gateway knew that it is gone, in seconds."""
    assert worker.pid is not None
    told: dict[str, float] = {}
    log = server.files.folder / "anchor1.log"
    before = len(log.read_text())
    listener = await server.connect(roles.ANCHOR, "listener2")

    def note(who: str) -> None:
        told.setdefault(who, (clock.monotonic_ns() - began) / 1e9)

    def announced(msg: Msg) -> None:
        news = codec.decode(msg.data, Announcement)
        if news.instance == worker.instance and news.event in {"failed", "stopped"}:
            note("runtime")

    def everybody() -> bool:
        if any(worker.instance in line for line in log.read_text()[before:].splitlines()):
            note("anchor")
        if state(seen, worker.instance) in {"suspect", "down"}:
            note("gateway")
        return len(told) == 3

    await listener.listen(subjects.ANNOUNCEMENTS, announced)
    await listener.settle()
    began = clock.monotonic_ns()
    send_signal(worker.pid, number)
    await eventually(everybody, within=15)
    return told


async def test_a_killed_worker_is_seen_at_once(
    server: NatsServer, client: Client, seen: Network, echoes: list[Announcement]
) -> None:
    told = await gone(server, seen, echoes[0], signal.SIGKILL)
    print(told)  # noqa: T201  # the figures, with `pytest -rP`
    assert max(told.values()) < AT_ONCE_S, told
    assert await ran(client) != echoes[0].instance


async def test_a_worker_that_stands_still_is_seen_within_five_seconds(
    server: NatsServer, client: Client, seen: Network, echoes: list[Announcement]
) -> None:
    told = await gone(server, seen, echoes[0], signal.SIGSTOP)
    print(told)  # noqa: T201  # the figures, with `pytest -rP`
    assert max(told.values()) < STANDSTILL_S, told
    assert await ran(client) != echoes[0].instance


async def test_a_runtime_that_stands_still_is_suspect_then_down_and_its_workers_serve_on(
    node: Node, client: Client, seen: Network, echoes: list[Announcement]
) -> None:
    await eventually(lambda: state(seen, "n1") == "up")
    times: dict[str, float] = {}
    began = clock.monotonic_ns()

    def both() -> bool:
        now = state(seen, "n1")
        if now in {"suspect", "down"}:
            times.setdefault(now, (clock.monotonic_ns() - began) / 1e9)
        return "down" in times

    send_signal(node.pid, signal.SIGSTOP)
    try:
        assert await ran(client) in {one.instance for one in echoes}
        await eventually(both, within=DOWN_AFTER_S + 5)
        assert await ran(client) in {one.instance for one in echoes}
        assert [state(seen, one.instance) for one in echoes] == ["up", "up"]
    finally:
        send_signal(node.pid, signal.SIGCONT)
    print(times)  # noqa: T201
    # Its last heartbeat was up to a second before it stood still.
    assert SUSPECT_AFTER_S - 1.2 < times["suspect"] < SUSPECT_AFTER_S + SLACK_S, times
    assert DOWN_AFTER_S - 1.2 < times["down"] < DOWN_AFTER_S + SLACK_S, times
    await eventually(lambda: state(seen, "n1") == "up", within=15)
    # A runtime that was late itself judges nobody.
    assert [state(seen, one.instance) for one in echoes] == ["up", "up"]
    assert await ran(client) in {one.instance for one in echoes}
