"""A hostile bundle in each box that this machine can build: what stops which attempt, and that nobody else notices."""

import asyncio
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from contracts.bus import Bus
from contracts.errors import Refused
from contracts.modules import Announcement
from gateway.cli.nameserver import ZONE, nameserver
from runtime.box import MEASURES, Found, Measure, level
from runtime.box.kernel import landlock_abi
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.node import Announcements, Node, alive, call, children, deploy, discovered, stored_result
from tests.kit.wheels import BUNDLES, FUNCTIONS, wheel_of

HOSTILE = wheel_of(BUNDLES / "hostile")
ECHO = wheel_of(FUNCTIONS / "echo")
ROOT = os.geteuid() == 0
ORDINARY_USER = 65_432

ALWAYS = frozenset(MEASURES)
"""The process limits do, the lack of any capability, or its NATS identity: in every box."""

STOPPED_BY: Mapping[str, frozenset[Measure]] = {
    "read /etc/shadow": frozenset({"user", "landlock"}),
    "read the node's signing key": frozenset({"user", "landlock"}),
    "read it through a link": frozenset({"user", "landlock"}),
    "change its mode": frozenset({"user", "seccomp"}),
    "read another worker's scratch": frozenset({"user", "landlock"}),
    "list everybody's scratch": frozenset({"user", "landlock"}),
    "write outside its scratch": frozenset({"user", "landlock"}),
    "write to its own code": frozenset({"user", "landlock"}),
    "read the runtime's environment": ALWAYS,
    "read the runtime's memory": ALWAYS,
    "read a sibling's memory": ALWAYS,
    "process_vm_readv of a sibling": ALWAYS,
    "ptrace a sibling": ALWAYS,
    "signal the runtime": frozenset({"user", "seccomp"}),
    "signal a sibling": frozenset({"user", "seccomp"}),
    "signal everybody": frozenset({"seccomp"}),
    "pidfd_open a sibling": frozenset({"seccomp"}),
    "raise a sibling's niceness": frozenset({"user", "seccomp"}),
    "outlive the runtime": frozenset({"seccomp"}),
    "fork": frozenset({"seccomp"}),
    "run a program": frozenset({"landlock", "seccomp"}),
    "run a set-uid program": frozenset({"landlock", "seccomp"}),
    "run with LD_PRELOAD": frozenset({"landlock", "seccomp"}),
    "become root": frozenset({"user", "seccomp"}),
    "mount": ALWAYS,
    "unshare users": frozenset({"seccomp"}),
    # Whoever may have a namespace of users is root in it.
    "chroot": frozenset({"seccomp"}),
    "raw ICMP socket": ALWAYS,
    "packet socket": ALWAYS,
    "vsock socket": frozenset({"seccomp"}),
    "crypto socket": frozenset({"seccomp"}),
    "UNIX socket": frozenset({"seccomp"}),
    "abstract UNIX socket": frozenset({"seccomp"}),
    "datagram through a pair": frozenset({"seccomp"}),
    "UDP socket": frozenset({"seccomp"}),
    "connect to a port it did not ask for": frozenset({"landlock"}),
    "connect to it by fast open": frozenset({"seccomp"}),
    "bind a port": frozenset({"landlock"}),
    "listen": frozenset({"seccomp"}),
    "add_key": frozenset({"seccomp"}),
    "bpf": frozenset({"seccomp"}),
    "perf_event_open": frozenset({"seccomp"}),
    "io_uring_setup": frozenset({"seccomp"}),
    "userfaultfd": frozenset({"seccomp"}),
    "shared memory": frozenset({"seccomp"}),
    "memfd_create": frozenset({"seccomp"}),
    "raise its own limits": ALWAYS,
    "20000 descriptors": ALWAYS,
    "a file of 200 MB": ALWAYS,
    "3 GB of memory": ALWAYS,
    # Its NATS identity, which no measure gives or takes.
    "NATS: announce for its node": ALWAYS,
    "NATS: health of a sibling": ALWAYS,
    "NATS: lines of a sibling": ALWAYS,
    "NATS: call a sibling": ALWAYS,
    "NATS: a result of a sibling": ALWAYS,
    "NATS: submit a job": ALWAYS,
    "NATS: drain its node": ALWAYS,
    "NATS: list streams": ALWAYS,
    "NATS: hear everything": ALWAYS,
    "NATS: hear all inboxes": ALWAYS,
    "NATS: hear calls of a sibling": ALWAYS,
    "NATS: hear all results": ALWAYS,
}
"""Any one of these measures stops the attempt by itself. Where none of them holds, the outcome is only reported."""

BY_ABI = {"connect to a port it did not ask for": 4, "bind a port": 4}
REFUSALS = {
    "EPERM",
    "EACCES",
    "ENOSYS",
    "ENOENT",
    "ESRCH",
    "EMFILE",
    "EFBIG",
    "EROFS",
    "MemoryError",
    "ValueError",
    "denied",
}


MEASURING = ("latency-ping", "dns-lookup", "http-probe")


def pings_are_for(group: int) -> bool:
    """Whether the kernel lets this group have ping sockets."""
    first, last = Path("/proc/sys/net/ipv4/ping_group_range").read_text().split()
    return int(first) <= group <= int(last)


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[Node]:
    await node.start()
    try:
        yield node
    finally:
        await node.close()


class Ordinary(Node):
    """A runtime of an ordinary user, as in a container."""

    def command(self) -> Sequence[str]:
        # This makes the credentials, which it must be able to read.
        self.environment()
        folder = self.server.files.folder
        for path in (folder, *folder.rglob("*")):
            os.chown(path, ORDINARY_USER, ORDINARY_USER, follow_symlinks=False)
        mine, reach = super().command(), str(folder)
        return (mine[0], "-m", "tests.kit.unprivileged", str(ORDINARY_USER), reach, "--", *mine)


async def attackers(node: Node, gateway: Bus, announced: Announcements, *, workers: int = 2) -> list[Announcement]:
    """Hostile workers, beside one of a function that has nothing to do with them."""
    await deploy(gateway, HOSTILE, workers=workers)
    await deploy(gateway, ECHO)
    await announced.next("ready", "echo", node=node.node)
    await announced.next("ready", "hostile", count=workers, node=node.node)
    return announced.of("ready", "hostile", node=node.node)


@asynccontextmanager
async def bystander(anchor: Bus, told: Announcement) -> AsyncIterator[None]:
    """Somebody who calls another function all the time, and must not notice anything."""
    done = asyncio.Event()
    taken: list[float] = []

    async def work() -> None:
        while not done.is_set():
            begun = time.monotonic()
            assert (await call(anchor, told.function, told.instance, within=5.0))[0].failure is None
            taken.append(time.monotonic() - begun)
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        try:
            yield
        finally:
            done.set()
    print(f"\nmeanwhile {len(taken)} calls of {told.function} went well, the slowest in {max(taken):.3f} s")  # noqa: T201  # what -s and failures show


async def outcomes(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> tuple[Announcement, dict[str, str]]:
    """What came of every attempt."""
    attacker, sibling = await attackers(node, gateway, announced)
    echo = announced.of("ready", "echo", node=node.node)[0]
    with (
        socket.socket() as listening,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        name = f"mmn-test-{os.getpid()}-{node.node}"
        unix.bind(f"\0{name}")
        unix.listen()
        # Open to everybody, as that of a system's log is.
        place = Path(tempfile.mkdtemp(dir="/tmp")) / "log"
        place.parent.chmod(0o755)
        datagrams.bind(str(place))
        place.chmod(0o666)
        params = {
            "secret": str(node.server.files.node_key(node.node)),
            "runtime": node.pid,
            "sibling": sibling.pid,
            "sibling_instance": sibling.instance,
            "node": node.node,
            "others_scratch": str(node.state_dir / "scratch" / sibling.instance),
            "outside": str(node.state_dir),
            "open_port": listening.getsockname()[1],
            "abstract": name,
            "datagrams": str(place),
        }
        async with bystander(anchor, echo):
            reply, _ = await call(anchor, "hostile", attacker.instance, params, time_left=30.0, within=35.0)
        shutil.rmtree(place.parent)
    data = (await stored_result(gateway, reply.job)).data
    assert data is not None
    # Whatever it tried, its sibling and the other function serve on, in the processes that they had.
    assert (await call(anchor, "hostile", sibling.instance, {"bomb": "none"}))[0].failure is None
    assert not announced.of("failed", "hostile") + announced.of("failed", "echo")
    assert len(announced.of("ready", "echo", node=node.node)) == 1
    found: dict[str, str] = data["outcomes"]
    return attacker, found


def stopping_levels(stops: frozenset[Measure]) -> str:
    """The levels at which one of these measures holds."""
    if stops == ALWAYS:
        return "B0 B1 B2 B3 B4"
    missing: tuple[tuple[Measure, ...], ...] = ((), ("user",), ("landlock",), ("seccomp",))
    found = [Found(missing=dict.fromkeys(names, "")) for names in missing]
    return " ".join(level(one) for one in found if one.holds & stops)


def judge(told: Announcement, found: dict[str, str], holds: frozenset[Measure]) -> None:
    """Assert what must be stopped, and print the table: attempt, levels that stop it, what does here, outcome."""
    assert told.card is not None
    lines = [f"box {told.card.box}, egress {told.card.egress}, measures {', '.join(sorted(holds)) or 'none'}"]
    lines += [f"  open: {gap}" for gap in told.card.gaps]
    wrong: list[str] = []
    for attempt, result in found.items():
        ordinary = attempt.startswith("ok: ")
        usable = holds if landlock_abi() >= BY_ABI.get(attempt, 1) else holds - {"landlock"}
        stops = STOPPED_BY.get(attempt, frozenset())
        by = "limits, no rights" if stops == ALWAYS else ", ".join(sorted(stops & usable))
        levels, here = ("", "") if ordinary else (stopping_levels(stops), by or "nothing here")
        lines.append(f"  {attempt:36} | {levels:14} | {here:17} | {result}")
        expected = {"open"} if ordinary else REFUSALS
        if (ordinary or by) and result not in expected:
            wrong.append(f"{attempt}: {result}")
    print("\n".join(["", *lines]))  # noqa: T201  # what -s and failures show
    assert not wrong
    assert {attempt for attempt in found if not attempt.startswith("ok: ")} == set(STOPPED_BY)


async def measured(node: Node, gateway: Bus, anchor: Bus, announced: Announcements) -> dict[str, str]:
    """By function, what came of measuring something that is there: `ok`, or the code of the failure."""
    found: dict[str, str] = {}
    async with nameserver() as port, TestServer(web.Application()) as page:
        params: dict[str, dict[str, object]] = {
            "latency-ping": {"target": "127.0.0.1", "count": 2, "interval_ms": 20, "timeout_ms": 2000},
            "dns-lookup": {"name": ZONE, "server": "127.0.0.1", "port": port, "timeout_ms": 3000},
            "http-probe": {"url": f"http://localhost:{page.port}/", "timeout_ms": 5000},
        }
        for function in params:
            await deploy(gateway, wheel_of(FUNCTIONS / function))
        for function, what in params.items():
            ready = await announced.next("ready", function, node=node.node)
            try:
                reply, _ = await call(anchor, function, ready.instance, what)
            except Refused as error:
                found[function] = error.reason
                continue
            failure = (await stored_result(gateway, reply.job)).failure
            found[function] = failure.code.value if failure else "ok"
    return found


@pytest.mark.skipif(not ROOT, reason="only root can give workers users of their own")
@pytest.mark.parametrize(
    "without", [(), ("user",), ("landlock",), ("seccomp",), MEASURES], ids=["B0", "B1", "B2", "B3", "B4"]
)
async def test_each_level_stops_what_it_should(
    without: tuple[Measure, ...], server: NatsServer, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    names = ",".join(f'"{measure}"' for measure in without)
    async with running(Node(server, box_without=f"[{names}]", cpu_share="64")) as node:
        told, found = await outcomes(node, gateway, anchor, announced)
        assert told.card is not None
        missing = dict.fromkeys(without, "")
        holds = Found(missing=missing).holds
        assert told.card.box == level(Found(missing=missing))
        judge(told, found, holds)
        # What is missing is said in words, by the worker's card, by its INFO and by its node's.
        for measure in without:
            assert any(gap.endswith("(switched off by a setting)") for gap in told.card.gaps), measure
        assert (await discovered(anchor, "hostile", told.instance))["metadata"]["box"] == told.card.box
        # What is not hostile measures in the same box.
        assert await measured(node, gateway, anchor, announced) == dict.fromkeys(MEASURING, "ok")


@pytest.mark.skipif(not ROOT, reason="it becomes an ordinary user by itself, which only root can")
async def test_a_runtime_without_any_right_confines_its_workers_too(
    server: NatsServer, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    async with running(Ordinary(server, cpu_share="64")) as node:
        told, found = await outcomes(node, gateway, anchor, announced)
        assert told.card is not None
        assert (told.card.box, told.card.egress) == ("B1", "advisory")
        judge(told, found, frozenset({"landlock", "seccomp"}))
        assert any("the runtime lacks CAP_CHOWN" in gap for gap in told.card.gaps)
        assert any("where packets go is not enforced" in gap for gap in told.card.gaps)
        info = await discovered(anchor, "runtime", node.node)
        assert info["metadata"]["box"] == "B1"
        assert "CAP_CHOWN" in info["metadata"]["gaps"]
        # ICMP is the kernel's to give to an ordinary user, by ping_group_range.
        done = await measured(node, gateway, anchor, announced)
        ping = "ok" if pings_are_for(ORDINARY_USER) else "no-privilege"
        assert done == dict.fromkeys(MEASURING, "ok") | {"latency-ping": ping}


BOMBS = {
    "memory": "MB of memory, over its limit of 128: killed",
    "disk": "MB of disk, over its limit of 64: killed",
    "hidden": "MB of disk, over its limit of 64: killed",
    "mapped": "deleted files that it has mapped and closed: killed",
    "sent": "files that it has sent into a socket of its own: killed",
    "files": "its scratch folder holds more than 10000 files: killed",
}


async def test_bombs_end_their_own_worker_and_nobody_elses(
    server: NatsServer, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    async with running(Node(server, scratch_mb="64", cpu_share="64")) as node:
        # As many at once, since a function whose workers end soon after their start gets no new ones in the end.
        await attackers(node, gateway, announced, workers=len(BOMBS))
        echo = announced.of("ready", "echo")[0]
        workers = announced.of("ready", "hostile")
        for (bomb, reason), worker in zip(BOMBS.items(), workers, strict=True):
            async with bystander(anchor, echo):
                with pytest.raises(TimeoutError):
                    await call(anchor, "hostile", worker.instance, {"bomb": bomb}, time_left=25.0, within=0.2)
                failed = await announced.next("failed", "hostile", instance=worker.instance, within=25.0)
            assert failed.reason.endswith(reason)
        assert not announced.of("failed", "echo")
        # What they wrote is gone with them.
        names = {worker.instance for worker in workers}
        await eventually(lambda: names.isdisjoint(os.listdir(node.state_dir / "scratch")))  # noqa: PTH208  # names alone


async def test_a_worker_that_takes_more_than_its_share_of_the_processor_is_killed(
    server: NatsServer, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    async with running(Node(server, cpu_share="0.2", cpu_window_s="3")) as node:
        _, worker = await attackers(node, gateway, announced)
        with pytest.raises(TimeoutError):
            await call(anchor, "hostile", worker.instance, {"bomb": "processor"}, time_left=25.0, within=0.2)
        failed = await announced.next("failed", "hostile", within=25.0, instance=worker.instance)
        assert failed.reason.endswith("processors over 3 s, over its limit of 0.2: killed")


@pytest.mark.skipif(not ROOT, reason="only root can give workers users of their own")
async def test_processes_that_escaped_their_session_end_with_their_worker(
    server: NatsServer, gateway: Bus, announced: Announcements
) -> None:
    code = "\nimport subprocess\nCHILD = subprocess.Popen(['/bin/sleep', '60'], start_new_session=True).pid\n"
    async with running(Node(server, box_without='["landlock","seccomp"]')) as node:
        await deploy(gateway, wheel_of(FUNCTIONS / "echo", extra=code))
        ready = await announced.next("ready", "echo")
        assert ready.pid is not None
        (child,) = children(ready.pid)
        os.kill(ready.pid, 9)
        await announced.next("failed", "echo")
        await eventually(lambda: not alive(child))
        assert node.processes()


async def test_a_third_partys_bundle_is_refused_below_the_minimum(
    server: NatsServer, gateway: Bus, announced: Announcements
) -> None:
    settings = {"trusted_authors": "[]", "third_parties": "1", "box_without": '["seccomp"]'}
    async with running(Node(server, **settings)):
        await deploy(gateway, ECHO)
        failed = await announced.next("failed", "echo")
        assert failed.reason.startswith("the bundle is a third party's, and this node's box is B")
        assert "below B2: without a filter of system calls" in failed.reason
        assert not announced.of("ready", "echo")


async def test_scratch_left_by_a_killed_runtime_is_removed(server: NatsServer) -> None:
    node = Node(server)
    left = node.state_dir / "scratch" / "n1_0123" / "deep"
    left.mkdir(parents=True)
    async with running(node):
        await eventually(lambda: not left.parent.exists(), within=20.0)  # a look, no work


@pytest.mark.skipif(not ROOT, reason="only root can give workers users of their own")
async def test_bombs_of_processes_and_threads_stop_at_once(
    server: NatsServer, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    async with running(Node(server)) as node:
        _, worker = await attackers(node, gateway, announced)
        for bomb, expected in {"forks": "PermissionError after 0", "threads": "RuntimeError after "}.items():
            reply, _ = await call(anchor, "hostile", worker.instance, {"bomb": bomb})
            data = (await stored_result(gateway, reply.job)).data
            assert data is not None
            assert data["outcomes"][bomb].startswith(expected)
