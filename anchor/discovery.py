"""How the registry learns: announcements, heartbeats, `$SRV` questions, deployments.

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

from anchor.registry import Registry
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


def _json_object(text: str) -> dict[str, Any]:
    value = msgspec.json.decode(text)
    return value if isinstance(value, dict) else {}


def card_of(info: ServiceInfo) -> Card | None:
    """Read a worker's card off its INFO; None when it is not a worker or not a sound one."""
    work = next((endpoint for endpoint in info.endpoints if endpoint.name == CALL_ENDPOINT), None)
    if work is None or work.subject != subjects.call(info.name, info.id):
        return None
    notes: Mapping[str, str] = work.metadata or {}
    try:
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
    except (MmnError, msgspec.MsgspecError) as error:
        log.warning("unsound INFO", instance=info.id[:64], error=str(error))
        return None


class Discovery:
    """Feeds one registry from NATS."""

    def __init__(self, bus: Bus, registry: Registry) -> None:
        self._bus = bus
        self._registry = registry
        self._asking: set[str] = set()
        self._questions: asyncio.Queue[tuple[str, str]] = asyncio.Queue(maxsize=10_000)
        self._again = asyncio.Event()

    async def open(self) -> None:
        """Subscribe, then gather who is there. After this, jobs can be admitted."""
        await self._bus.nc.subscribe(subjects.ANNOUNCEMENTS, cb=self._announced)
        await self._bus.nc.subscribe(subjects.HEALTH, cb=self._health)
        self._bus.on_reconnect(self._reconnected)
        await self.gather()

    def _reconnected(self) -> None:
        self._registry.forgive_silence(clock.monotonic_ns())
        self._again.set()

    async def run(self, deployments_known: asyncio.Event) -> None:
        """Follow changes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_deployments(deployments_known))
            tasks.create_task(self._ask_unknown())
            tasks.create_task(self._tick())
            tasks.create_task(self._gather_again())

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
            self._registry.ready(news.instance, news.node, news.card, news.labels, now)
        elif news.event == "draining":
            self._registry.draining(news.instance)
        elif news.event in {"stopped", "failed"}:
            self._registry.lost(news.instance, news.reason or news.event, now)

    async def _health(self, msg: Msg) -> None:
        try:
            health = codec.decode(msg.data, Health, codec.content_type(msg.headers), at="health")
        except MmnError:
            return
        if health.kind != "worker" or health.function is None or msg.subject != subjects.health(health.instance):
            return
        if health.state == "starting":
            return
        if not self._registry.heard(health.instance, health.state, health.limit, clock.monotonic_ns()):
            self._ask(health.function, health.instance)

    def _ask(self, function: str, instance: str) -> None:
        if instance not in self._asking and not self._questions.full():
            self._asking.add(instance)
            self._questions.put_nowait((function, instance))

    async def _ask_unknown(self) -> None:
        while True:
            function, instance = await self._questions.get()
            try:
                await self._prove(function, instance)
            finally:
                self._asking.discard(instance)

    async def _prove(self, function: str, instance: str) -> None:
        """Ask one instance itself, on the subject that only it may serve."""
        try:
            reply = await self._bus.nc.request(subjects.service("INFO", function, instance), timeout=1.0)
            info = msgspec.json.decode(reply.data, type=ServiceInfo)
        except (nats.errors.Error, TimeoutError, msgspec.DecodeError, MmnError) as error:
            log.info("instance did not prove itself", instance=instance[:64], reason=type(error).__name__)
            return
        card = card_of(info)
        if card is None or info.id != instance:
            return
        labels = {key: str(value) for key, value in _json_object(info.metadata.get("labels", "{}")).items()}
        self._registry.ready(instance, node_of(instance), card, labels, clock.monotonic_ns())

    async def gather(self) -> None:
        """Ask everybody once; every worker that answers is then asked in person."""
        answers: asyncio.Queue[Msg] = asyncio.Queue()
        inbox = self._bus.nc.new_inbox()
        subscription = await self._bus.nc.subscribe(inbox, cb=answers.put)
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
        except msgspec.DecodeError:
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
                self._registry.set_deployment(item.key, None)
                continue
            try:
                self._registry.set_deployment(item.key, codec.decode(item.value, Deployment, at="deployment"))
            except MmnError as error:
                log.warning("unsound deployment", function=item.key, error=str(error))
