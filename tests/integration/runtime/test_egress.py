"""Where workers may send, as the kernel enforces it, and what becomes of the rules."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from contracts.access import roles
from contracts.bus import Bus
from runtime.box import Users
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer, nats_server
from tests.kit.node import Announcements, Node, call, deploy, stored_result
from tests.kit.wheels import BUNDLES, FUNCTIONS, wheel_of

NFT = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
NODE = f"egress{os.getpid()}"
TABLE = f"mmn_{next(Users.ranges(NODE)).first}"
OTHER = f"other_{os.getpid()}"
MARK = b"mmn-hostile"
ECHO_REQUEST = 8

needs_filter = pytest.mark.skipif(
    os.geteuid() != 0 or NFT is None, reason="needs root and nft (Debian: apt-get install nftables)"
)


async def nft(*arguments: str) -> tuple[int, str]:
    assert NFT is not None
    process = await asyncio.create_subprocess_exec(
        NFT, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def has_table(name: str) -> bool:
    return (await nft("list", "table", "inet", name))[0] == 0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path, nodes=(NODE,)) as server:
        yield server


@pytest.fixture
async def other_table() -> AsyncIterator[str]:
    """Somebody else's rules, which nothing may change."""
    code, said = await nft("add", "table", "inet", OTHER)
    assert code == 0, said
    await nft("add", "chain", "inet", OTHER, "mine")
    await nft("add", "rule", "inet", OTHER, "mine", "counter")
    yield (await nft("list", "table", "inet", OTHER))[1]
    await nft("delete", "table", "inet", OTHER)


async def refused(anchor: Bus, gateway: Bus, function: str, instance: str, params: dict[str, object]) -> str | None:
    """The failure that a measurement of a local address ends with."""
    reply, _ = await call(anchor, function, instance, params)
    failure = (await stored_result(gateway, reply.job)).failure
    return failure.code.value if failure else None


@needs_filter
async def test_local_addresses_are_out_of_reach_unless_the_node_allows_them(
    server: NatsServer, other_table: str
) -> None:
    anchor = await server.connect(roles.ANCHOR, "anchor1")
    gateway = await server.connect(roles.GATEWAY, "gateway1")
    announced = await Announcements.open(anchor)
    node = Node(server, NODE, allow_targets="[]")
    await node.start()
    try:
        # It reaches NATS, which is local too, and so it becomes ready.
        for function in ("latency-ping", "dns-lookup", "http-probe", "echo"):
            await deploy(gateway, wheel_of(FUNCTIONS / function))
        ready = {name: await announced.next("ready", name) for name in ("latency-ping", "dns-lookup", "http-probe")}
        card = ready["latency-ping"].card
        assert card is not None
        assert (card.box, card.egress) == ("B0", "enforced")
        assert not [gap for gap in card.gaps if "not enforced" in gap]
        ping = {"target": "127.0.0.1", "count": 1, "timeout_ms": 500}
        ask = {"name": "example.net", "server": "127.0.0.1", "port": 9, "timeout_ms": 500, "retries": 0}
        get = {"url": "http://127.0.0.1:9/", "timeout_ms": 2000}
        # Even over the ICMP socket that root has opened for the worker.
        assert await refused(anchor, gateway, "latency-ping", ready["latency-ping"].instance, ping) == "target-denied"
        assert await refused(anchor, gateway, "dns-lookup", ready["dns-lookup"].instance, ask) == "target-denied"
        assert await refused(anchor, gateway, "http-probe", ready["http-probe"].instance, get) in {
            "unreachable",
            "target-denied",
        }
        await node.kill()
        assert await has_table(TABLE)
        # What a killed runtime has left is replaced by what the next one wants.
        allowing = Node(server, NODE)
        await allowing.start()
        try:
            again = await announced.next("ready", "latency-ping", count=2)
            assert await refused(anchor, gateway, "latency-ping", again.instance, ping) is None
            assert (await nft("list", "table", "inet", OTHER))[1] == other_table
        finally:
            await allowing.close()
        assert not await has_table(TABLE)
        assert (await nft("list", "table", "inet", OTHER))[1] == other_table
    finally:
        await node.close()
        await nft("delete", "table", "inet", TABLE)


@needs_filter
async def test_nodes_of_one_name_in_two_networks_of_one_host_leave_each_other_alone(
    server: NatsServer, tmp_path: Path
) -> None:
    anchor, gateway = await server.connect(roles.ANCHOR, "anchor1"), await server.connect(roles.GATEWAY, "gateway1")
    announced = await Announcements.open(anchor)
    node = Node(server, NODE)
    await node.start()
    try:
        await deploy(gateway, wheel_of(FUNCTIONS / "echo"))
        worker = (await announced.next("ready", "echo")).instance
        async with nats_server(tmp_path / "second", nodes=(NODE,)) as second:
            namesake = Node(second, NODE)
            await namesake.start()
            try:
                there = await second.connect(roles.ANCHOR, "anchor1")
                heard = await Announcements.open(there)
                await deploy(await second.connect(roles.GATEWAY, "gateway1"), wheel_of(FUNCTIONS / "echo"))
                await call(there, "echo", (await heard.next("ready", "echo")).instance)
                await call(anchor, "echo", worker)
            finally:
                await namesake.close()
        await call(anchor, "echo", worker)
        assert await has_table(TABLE)
        assert not announced.of("failed", "echo")
    finally:
        await node.close()


class Ears:
    """Sockets on this host that no worker should reach, and what came to them."""

    def __init__(self) -> None:
        self._tcp = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._udp.bind(("::", self.port))
        self._icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        for sock in (self._tcp, self._udp, self._icmp):
            sock.setblocking(False)

    def heard(self) -> list[str]:
        """What has come since it was asked last."""
        return [*self._all("TCP", self._accept), *self._all("UDP", self._take), *self._all("ICMP", self._echo)]

    def _all(self, name: str, one: Callable[[], bool]) -> Iterator[str]:
        while True:
            try:
                ours = one()
            except BlockingIOError:
                return
            if ours:
                yield name

    def _accept(self) -> bool:
        self._tcp.accept()[0].close()
        return True

    def _take(self) -> bool:
        return MARK in self._udp.recv(2048)

    def _echo(self) -> bool:
        packet = self._icmp.recv(2048)
        return packet[20] == ECHO_REQUEST and MARK in packet

    def close(self) -> None:
        for sock in (self._tcp, self._udp, self._icmp):
            sock.close()


def other_address() -> str:
    """An address of this host beside loopback; loopback where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            # Sends nothing.
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        name: str = sock.getsockname()[0]
        return name


@needs_filter
async def test_hostile_code_reaches_no_forbidden_target_by_any_protocol(server: NatsServer) -> None:
    anchor = await server.connect(roles.ANCHOR, "anchor1")
    gateway = await server.connect(roles.GATEWAY, "gateway1")
    announced = await Announcements.open(anchor)
    ears = Ears()
    wheel = wheel_of(BUNDLES / "hostile", manifest='needs = ["tcp", "udp", "icmp"]\n')
    # Without the rules the same code gets through, so that silence means something.
    for count, (enforce, level) in enumerate({"auto": "enforced", "advisory": "advisory"}.items(), start=1):
        node = Node(server, NODE, allow_targets="[]", egress=enforce)
        await node.start()
        try:
            await deploy(gateway, wheel)
            ready = await announced.next("ready", "hostile", count=count)
            assert ready.card is not None
            assert ready.card.egress == level
            # What leaves the host is tried only where it does not.
            params = {"reach": ears.port, "elsewhere": other_address(), "near": level == "enforced"}
            reply, _ = await call(anchor, "hostile", ready.instance, params, time_left=25.0, within=30.0)
            data = (await stored_result(gateway, reply.job)).data
            assert data is not None
            found: dict[str, str] = data["outcomes"]
            print(f"\negress {level}", *(f"  {name:50} | {got}" for name, got in found.items()), sep="\n")  # noqa: T201  # what -s and failures show
            heard = ears.heard()
            # No packet with a header of its own, whatever the rules say.
            assert found["UDP from a foreign address, over the ICMP socket"] == "EPERM"
            assert found["TCP with fast open"] == "EPERM"
            if level == "enforced":
                assert "open" not in found.values()
                assert heard == []
            else:
                assert {"TCP", "UDP", "ICMP"} <= set(heard)
                assert found["ICMP over the inherited socket"] == "open"
        finally:
            await node.close()
    ears.close()


async def test_where_it_cannot_be_enforced_a_node_that_insists_does_not_start(server: NatsServer) -> None:
    node = Node(server, NODE, egress="enforced", box_without='["user"]')
    await node.start()
    try:
        await eventually(lambda: "egress cannot be enforced here" in node.log.read_text(), within=20.0)
        assert "workers have no users of their own" in node.log.read_text()
    finally:
        await node.close()
