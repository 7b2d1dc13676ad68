"""Sees what people can see of a network, and draws it onto the timeline: announcements, heartbeats, pids."""

from __future__ import annotations

from collections.abc import Callable

from nats.aio.msg import Msg

from contracts import codec, subjects
from contracts.bus import Bus
from contracts.errors import MmnError
from contracts.modules import Announcement, Health
from gateway.cli.identities import GATEWAY_ID
from gateway.cli.local import LocalNetwork
from gateway.cli.scenarios.timeline import Timeline, WorkerLanes

NATS_LANE = "nats-server"


class Eye:
    """Watches one network with the operator's rights."""

    def __init__(self, network: LocalNetwork, timeline: Timeline) -> None:
        self._network = network
        self._timeline = timeline
        self._pids: dict[str, int] = {}
        self._silent: set[str] = set()
        self.lanes = WorkerLanes()
        self.pids: dict[str, int] = {}
        """Workers that run, by instance, as far as their runtimes told."""
        self.ready: dict[tuple[str, str], float] = {}
        """When a worker of this function on this node was last announced as ready."""

    async def open(self, bus: Bus) -> None:
        """Look from now on."""
        for name in self._programs():
            pid = self._network.stack.pid(name)
            if pid is not None:
                self._pids[name] = pid
                self._timeline.mark(lane_of(name), "ready")
        publish = self._network.stack.changed
        self._network.stack.changed = lambda: self._changed(publish)
        await bus.subscribe(subjects.ANNOUNCEMENTS, self._announced)
        await bus.subscribe(subjects.HEALTH, self._beat)
        await bus.settle()

    def _programs(self) -> list[str]:
        wish, nodes = self._network.wish, self._network.nodes
        return ["nats-server", *wish.anchor_names(), "gateway", *(f"runtime-{node}" for node in nodes)]

    def _changed(self, publish: Callable[[], None]) -> None:
        publish()
        for name in self._programs():
            pid = self._network.stack.pid(name)
            if pid is not None and pid != self._pids.get(name):
                self._pids[name] = pid
                self._timeline.mark(lane_of(name), "start")
                self._silent.add(lane_of(name))
                node = name.removeprefix("runtime-")
                if node != name:
                    for instance, lane in self.lanes.free(node).items():
                        self.pids.pop(instance, None)
                        self._timeline.mark(lane, "gone", "ended with its runtime")

    def lane(self, instance: str) -> str:
        """The lane of a worker, a runtime, an Anchor or the gateway, by its instance."""
        worker = self.lanes.known(instance)
        if worker is not None:
            return worker
        if instance == GATEWAY_ID:
            return "gateway"
        return f"runtime {instance}" if instance in self._network.nodes else instance

    def serves(self, lane: str) -> bool:
        """Whether a program that was started again has reported since."""
        return lane not in self._silent

    async def _announced(self, msg: Msg) -> None:
        try:
            news = codec.decode(msg.data, Announcement, codec.content_type(msg.headers))
        except MmnError:
            return
        lane = self.lanes.of(news)
        if news.event == "started":
            self._timeline.mark(lane, "start")
            if news.pid:
                self.pids[news.instance] = news.pid
        elif news.event == "ready":
            self.ready[news.function, news.node] = self._timeline.mark(lane, "ready")
        elif news.event in {"stopped", "failed"}:
            self._timeline.mark(lane, "gone", news.reason)
            self.pids.pop(news.instance, None)

    async def _beat(self, msg: Msg) -> None:
        try:
            health = codec.decode(msg.data, Health, codec.content_type(msg.headers))
        except MmnError:
            return
        lane = self.lane(health.instance)
        # Whoever reports is connected, so the server serves again.
        for name in (lane, NATS_LANE):
            if name in self._silent:
                self._silent.discard(name)
                self._timeline.mark(name, "ready")


def lane_of(program: str) -> str:
    """The lane of a program: `runtime-n1` is `runtime n1`."""
    node = program.removeprefix("runtime-")
    return program if node == program else f"runtime {node}"
