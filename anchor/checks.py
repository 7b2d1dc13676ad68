"""Asking instances in person: does a call arrive, and what do their STATS say?

A worker can have a live heart and a live `$SRV` and yet be deaf on its work subject: a handler
that raises CancelledError ends a subscription of nats-py for good. So instances that have
finished no call for a while get a probe on that very subject: an empty call with a header, which
the worker answers without running anything. 429 is an answer, too.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import nats.errors
import structlog

from anchor.instance import Instance
from anchor.registry import Registry
from contracts import clock, codec, service, subjects
from contracts.bus import Bus
from contracts.errors import MmnError, Refused
from contracts.jobs import CallReply
from contracts.modules import HEADER_PROBE

log = structlog.get_logger(__name__)

_S = 1_000_000_000
PROBE_WITHIN_S = 1.0
MISSES = 2
_IDLE_S = 5.0
_STATS_EVERY_S = 10.0
_TICK_S = 0.25
_HEART_S = 0.25
"""How long a heartbeat that was due during the question may be late."""
_LATE = 1.5
"""An Anchor whose own loop was this much later than asked judges nobody."""


class Heard(StrEnum):
    """What came back from a probe."""

    SOUND = "sound"
    OTHER = "other"
    NOBODY = "nobody"
    NOTHING = "nothing"


@dataclass(slots=True)
class _Schedule:
    probe_ns: int
    stats_ns: int
    understands: bool = False
    """It has answered a probe as one: only then does silence mean anything."""


class _Endpoint(msgspec.Struct):
    name: str = ""
    data: dict[str, Any] = {}


class _Stats(msgspec.Struct):
    endpoints: list[_Endpoint] = []


class Checks:
    """Probes idle instances about every five seconds and reads the STATS of all about every ten."""

    def __init__(self, bus: Bus, registry: Registry, *, chance: random.Random | None = None) -> None:
        self._bus = bus
        self._registry = registry
        self._chance = chance or random.Random()
        self._schedules: dict[str, _Schedule] = {}
        self._busy: set[str] = set()

    async def run(self) -> None:
        """Check until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(_TICK_S)
                if not self._bus.nc.is_connected:
                    continue
                now = clock.monotonic_ns()
                instances = self._registry.all_instances()
                known = {instance.id for instance in instances}
                self._schedules = {name: plan for name, plan in self._schedules.items() if name in known}
                for instance in instances:
                    if instance.id not in self._busy and self._due(instance, now):
                        self._busy.add(instance.id)
                        tasks.create_task(self._check(instance))

    def _due(self, instance: Instance, now_ns: int) -> bool:
        plan = self._schedules.get(instance.id)
        if plan is None:
            # The first probe comes soon: it tells whether the instance knows what a probe is.
            plan = self._schedules[instance.id] = _Schedule(self._later(now_ns, 1.0), self._later(now_ns, 10.0))
        if instance.gone_ns is not None:
            # Whether it is back is worth knowing soon.
            return True
        if plan.understands:
            plan.probe_ns = max(plan.probe_ns, instance.worked_ns + int(_IDLE_S * _S))
        return now_ns >= min(plan.probe_ns, plan.stats_ns)

    def _later(self, now_ns: int, about_s: float) -> int:
        return now_ns + int(self._chance.uniform(0.8, 1.2) * about_s * _S)

    async def _check(self, instance: Instance) -> None:
        plan = self._schedules[instance.id]
        try:
            now = clock.monotonic_ns()
            if instance.gone_ns is not None:
                if await self.answers(instance.function, instance.id):
                    self._registry.answered(instance.id, clock.monotonic_ns())
                return
            if now >= plan.probe_ns:
                plan.probe_ns = self._later(now, _IDLE_S)
                await self._probe(instance, plan)
            if now >= plan.stats_ns:
                plan.stats_ns = self._later(now, _STATS_EVERY_S)
                await self._read_stats(instance)
        finally:
            self._busy.discard(instance.id)

    # --- the work endpoint -----------------------------------------------------------------------------------

    async def answers(self, function: str, instance: str) -> bool:
        """Whether a call to the instance arrives anywhere now."""
        return (await self._ask(function, instance)) in {Heard.SOUND, Heard.OTHER}

    async def _probe(self, instance: Instance, plan: _Schedule) -> None:
        for _ in range(MISSES):
            before, reconnects = clock.monotonic_ns(), self._bus.reconnects
            heard = await self._ask(instance.function, instance.id)
            after = clock.monotonic_ns()
            if heard is Heard.SOUND:
                plan.understands = True
                return
            if heard is Heard.NOBODY:
                self._registry.unheard(instance.id, "worker does not listen", after)
                return
            late = after - before > PROBE_WITHIN_S * _LATE * _S or self._bus.reconnects != reconnects
            if heard is Heard.NOTHING and instance.spare_ns <= before:
                await asyncio.sleep(_HEART_S)
            if heard is Heard.OTHER or late or not plan.understands or not deaf(instance, before):
                return
        if instance.state == "down":
            return
        log.warning("work endpoint is dead", instance=instance.id, function=instance.function)
        self._registry.lost(instance.id, "work endpoint does not answer", clock.monotonic_ns(), final=False)

    async def _ask(self, function: str, instance: str) -> Heard:
        try:
            msg = await self._bus.request(
                subjects.call(function, instance), within=PROBE_WITHIN_S, headers={HEADER_PROBE: "1"}
            )
            service.raise_refusal(msg.headers)
            reply = codec.decode(msg.data, CallReply, codec.content_type(msg.headers), at="reply")
        except nats.errors.NoRespondersError:
            return Heard.NOBODY
        except Refused as refusal:
            return Heard.SOUND if refusal.code == 429 else Heard.OTHER
        except (nats.errors.Error, TimeoutError):
            return Heard.NOTHING
        except (MmnError, ValueError):
            # Whatever nonsense it answers with, something is there.
            return Heard.OTHER
        return Heard.SOUND if reply.instance == instance else Heard.OTHER

    # --- STATS -----------------------------------------------------------------------------------------------

    async def _read_stats(self, instance: Instance) -> None:
        try:
            msg = await self._bus.request(subjects.service("STATS", instance.function, instance.id), within=1.0)
            data = call_data(msgspec.json.decode(msg.data, type=_Stats))
        except (nats.errors.Error, TimeoutError, msgspec.DecodeError):
            return
        self._registry.stats(
            instance.id,
            limit=_count(data, "limit"),
            load=_count(data, "in_flight") + _count(data, "queued"),
            draining=data.get("draining") is True,
            now_ns=clock.monotonic_ns(),
        )


def deaf(instance: Instance, asked_ns: int) -> bool:
    """Whether silence since `asked_ns` cannot be explained by work.

    A probe waits like a call while every slot is taken. So it counts only when the instance has said
    since that a slot is free, and has answered no call.
    """
    return instance.spare_ns > asked_ns and instance.worked_ns < asked_ns


def call_data(stats: _Stats) -> dict[str, Any]:
    """What an instance's STATS say of its work endpoint."""
    return next((endpoint.data for endpoint in stats.endpoints if endpoint.name == "call"), {})


def _count(data: dict[str, Any], name: str) -> int:
    value = data.get(name)
    return value if isinstance(value, int) and value >= 0 else 0
