"""How the registry learns: connections, announcements, heartbeats, `$SRV` questions, deployments.

A broadcast answer is a hint that anybody could give; an instance is believed when its runtime
announced it, or when it answered on `$SRV.INFO.<function>.<instance>`, a subject that only
the right JWT may subscribe to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from anchor.checks import Checks
from anchor.connections import FINAL_REASONS, ConnectionEvent, Connections
from anchor.registry import Registry
from anchor.rollouts import Rollouts
from contracts import clock, codec, functions, streams, subjects
from contracts.bus import Bus
from contracts.errors import MmnError
from contracts.functions import Deployment, Limits
from contracts.modules import Announcement, Card, Health, node_of
from contracts.tail import CaughtUp, Watch

log = structlog.get_logger(__name__)

_GATHER_S = 2.0
_STALL_S = 0.3
_ASK_EVERY_S = 30.0
_TICK_S = 0.25
_QUESTIONS_AT_ONCE = 16
_ASK_AGAIN_S = 2.0
_MAX_DEPLOYMENT = 1024 * 1024
CALL_ENDPOINT = "call"


class EndpointInfo(msgspec.Struct):
    """One endpoint of an INFO answer (ADR-32)."""

    name: str
    subject: str
    metadata: dict[str, str] | None = None


class ServiceInfo(msgspec.Struct):
    """An INFO answer (ADR-32), as far as routing needs it."""

    name: str
    id: str
    version: str
    description: str = ""
    metadata: dict[str, str] = {}
    endpoints: list[EndpointInfo] = []


UNSOUND = (MmnError, msgspec.MsgspecError, ValueError, RecursionError)
"""What reading a hostile answer may raise: nothing that a worker says may end the Anchor."""


def _json_object(text: str) -> dict[str, Any]:
    value = msgspec.json.decode(text)
    return value if isinstance(value, dict) else {}


def card_of(info: ServiceInfo) -> Card | None:
    """Read a worker's card off its INFO; None when it is not a worker or not a sound one."""
    work = next((endpoint for endpoint in info.endpoints if endpoint.name == CALL_ENDPOINT), None)
    try:
        if work is None or work.subject != subjects.call(info.name, info.id):
            return None
        notes: Mapping[str, str] = work.metadata or {}
        return Card(
            function=functions.check_name(info.name),
            version=info.version,
            digest=info.metadata.get("digest", ""),
            summary=info.description,
            limits=msgspec.convert(_json_object(info.metadata.get("limits", "{}")), Limits),
            needs=[],
            params_schema=_json_object(notes.get("params_schema", "{}")),
            result_schema=_json_object(notes.get("result_schema", "{}")),
            box=info.metadata.get("box", ""),
        )
    except UNSOUND as error:
        log.warning("unsound INFO", instance=info.id[:64], error=str(error)[:200])
        return None


def _connection_event(msg: Msg) -> ConnectionEvent | None:
    try:
        return msgspec.json.decode(msg.data, type=ConnectionEvent)
    except msgspec.DecodeError as error:
        log.warning("unsound connection event", error=str(error))
        return None


class Discovery:
    """Feeds one registry from NATS."""

    def __init__(self, bus: Bus, registry: Registry, checks: Checks, rollouts: Rollouts) -> None:
        self._rollouts = rollouts
        self._bus = bus
        self._registry = registry
        self._checks = checks
        self._connections = Connections()
        self._asking: dict[str, float] = {}
        self._questions: asyncio.Queue[tuple[str, str]] = asyncio.Queue(maxsize=10_000)
        self._again = asyncio.Event()

    async def open(self) -> None:
        """Subscribe, then gather who is there. After this, jobs can be admitted."""
        await self._bus.subscribe(f"{subjects.CONNECTIONS}.CONNECT", self._connected)
        await self._bus.subscribe(f"{subjects.CONNECTIONS}.DISCONNECT", self._disconnected)
        await self._bus.subscribe(subjects.ANNOUNCEMENTS, self._announced)
        await self._bus.subscribe(subjects.HEALTH, self._health)
        self._bus.on_reconnect(self._reconnected)
        await self.gather()

    def _reconnected(self) -> None:
        self._connections.forget()
        self._registry.forgive_silence(clock.monotonic_ns())
        self._again.set()

    async def run(self, deployments_known: asyncio.Event) -> None:
        """Follow changes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_deployments(deployments_known))
            for _ in range(_QUESTIONS_AT_ONCE):
                tasks.create_task(self._ask_unknown())
            tasks.create_task(self._tick())
            tasks.create_task(self._gather_again())

    async def _connected(self, msg: Msg) -> None:
        event = _connection_event(msg)
        if event is not None:
            self._connections.opened(event)
            self._registry.connected(event.client.user, clock.monotonic_ns())

    async def _disconnected(self, msg: Msg) -> None:
        event = _connection_event(msg)
        if event is None or not self._connections.closed(event):
            return
        final = event.reason in FINAL_REASONS
        gone = self._registry.disconnected(event.client.user, event.reason, clock.monotonic_ns(), final=final)
        for instance in gone:
            log.info("instance disconnected", instance=instance.id, reason=event.reason)

    async def _announced(self, msg: Msg) -> None:
        try:
            news = codec.decode(msg.data, Announcement, codec.content_type(msg.headers), at="announcement")
        except MmnError as error:
            log.warning("unsound announcement", error=str(error))
            return
        # The republished header names the subject it was published on, which the node's JWT pins.
        origin = (msg.headers or {}).get("Nats-Subject", "")
        if origin != subjects.announce(news.node) or node_of(news.instance) != news.node:
            log.warning("announcement for another node", origin=origin, instance=news.instance)
            return
        now = clock.monotonic_ns()
        if news.event == "ready" and news.card is not None:
            known = self._registry.ready(news.instance, news.node, news.card, news.labels, now, user_key=news.user_key)
            if not known:
                self._ask(news.function, news.instance)
        elif news.event == "draining":
            self._registry.draining(news.instance)
        elif news.event in {"stopped", "failed"}:
            self._registry.lost(news.instance, news.reason or news.event, now)
        self._rollouts.announced(news)

    async def _health(self, msg: Msg) -> None:
        try:
            health = codec.decode(msg.data, Health, codec.content_type(msg.headers), at="health")
        except MmnError:
            return
        if msg.subject != subjects.health(health.instance):
            return
        # The subject is the sender's own, and a worker's id has an underscore, whatever kind it says it is.
        if "_" not in health.instance:
            if health.kind == "runtime":
                self._registry.nodes.heard(health, clock.monotonic_ns())
            self._rollouts.heard(health)
        if health.kind != "worker" or health.function is None or health.state == "starting":
            return
        load = max(0, health.in_flight) + max(0, health.queue)
        if not self._registry.heard(health.instance, health.state, health.limit, clock.monotonic_ns(), load=load):
            self._ask(health.function, health.instance)

    def _ask(self, function: str, instance: str) -> None:
        now = asyncio.get_running_loop().time()
        if self._asking.get(instance, 0.0) > now or self._questions.full():
            return
        # One that does not prove itself, a dead endpoint with a live heart say, is not asked all the time.
        self._asking = {name: until for name, until in self._asking.items() if until > now}
        self._asking[instance] = now + _ASK_AGAIN_S
        self._questions.put_nowait((function, instance))

    async def _ask_unknown(self) -> None:
        while True:
            await self._prove(*await self._questions.get())

    async def _prove(self, function: str, instance: str) -> None:
        """Ask one instance itself, on the subject that only it may serve."""
        try:
            reply = await self._bus.request(subjects.service("INFO", function, instance), within=1.0)
            info = msgspec.json.decode(reply.data, type=ServiceInfo)
            labels = {key: str(value) for key, value in _json_object(info.metadata.get("labels", "{}")).items()}
            functions.check_labels(labels)
        except (nats.errors.Error, TimeoutError, *UNSOUND) as error:
            log.info("instance did not prove itself", instance=instance[:64], reason=type(error).__name__)
            return
        card = card_of(info)
        # The subject it answered on proves its function and id; what it says beside them proves nothing.
        if card is None or info.id != instance or info.name != function:
            return
        # What was down before has to show the end that counts, too.
        if self._registry.was_down(instance) and not await self._checks.answers(card.function, instance):
            return
        self._registry.ready(
            instance,
            node_of(instance),
            card,
            labels,
            clock.monotonic_ns(),
            user_key=info.metadata.get("user_key"),
            proved=True,
        )
        self._asking.pop(instance, None)

    async def gather(self) -> None:
        """Ask everybody once; every worker that answers is then asked in person."""
        answers: asyncio.Queue[Msg] = asyncio.Queue()
        inbox = self._bus.nc.new_inbox()
        subscription = await self._bus.subscribe(inbox, answers.put)
        try:
            await self._bus.nc.publish(subjects.service("INFO"), reply=inbox)
            async with asyncio.timeout(_GATHER_S):
                while True:
                    async with asyncio.timeout(_STALL_S):
                        msg = await answers.get()
                    self._hinted(msg)
        except TimeoutError:
            return
        finally:
            await subscription.unsubscribe()

    def _hinted(self, msg: Msg) -> None:
        try:
            info = msgspec.json.decode(msg.data, type=ServiceInfo)
        except UNSOUND:
            return
        if any(endpoint.name == CALL_ENDPOINT for endpoint in info.endpoints) and not self._registry.get(info.id):
            self._ask(info.name, info.id)

    async def _gather_again(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_ASK_EVERY_S):
                    await self._again.wait()
            except TimeoutError:
                pass
            self._again.clear()
            try:
                await self.gather()
            except nats.errors.Error as error:
                log.info("discovery interrupted", reason=str(error))

    async def _tick(self) -> None:
        before = clock.monotonic_ns()
        while True:
            await asyncio.sleep(_TICK_S)
            now = clock.monotonic_ns()
            # An Anchor that was stopped or cut off itself has heard nobody, and judges nobody.
            if now - before > 4 * _TICK_S * 1e9 or not self._bus.nc.is_connected:
                self._registry.forgive_silence(now)
            self._registry.tick(now)
            before = now

    async def _follow_deployments(self, known: asyncio.Event) -> None:
        async for item in Watch(self._bus, streams.BUCKET_FUNCTIONS):
            if isinstance(item, CaughtUp):
                known.set()
                continue
            if item.value is None:
                self._registry.set_deployment(item.key, None, item.revision)
                continue
            try:
                deployment = codec.decode(item.value, Deployment, limit=_MAX_DEPLOYMENT, at="deployment")
                self._registry.set_deployment(item.key, deployment, item.revision)
            except MmnError as error:
                log.warning("unsound deployment", function=item.key, error=str(error))
