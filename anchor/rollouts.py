"""Takes rollouts to their end, step by step: any Anchor may take the next one.

The state is in the bucket and changes by compare-and-set, so of several Anchors that decide one
writes. An Anchor goes on only after it has itself watched a step for as long as it has to last; which
of them has died does not matter.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from anchor.evidence import Counting
from anchor.registry import Registry
from anchor.verdict import SHORT_LIVES, Promote, RollBack, Standing, Verdict, Wait, Weight, decide
from contracts import clock, codec, rollouts, streams
from contracts.bus import Bus
from contracts.functions import Deployment, Rollout
from contracts.modules import DOWN_AFTER_S, Announcement, Health, Trouble
from contracts.storage import NotStored, store

log = structlog.get_logger(__name__)

_S = 1_000_000_000
_LOOK_EVERY_S = 0.25
_AGAIN_S = 1.0
_AWAY_S = 5.0
_LISTEN_S = 2.5
"""Every runtime beats once a second: after this long all of them were heard."""
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


@dataclass(slots=True)
class _Node:
    labels: dict[str, str]
    up: bool
    seen_ns: int


@dataclass(slots=True)
class _Watched:
    """One rollout at one step, since when this Anchor sees it there, and the calls it had seen by then."""

    rollout: str
    step: tuple[int, float]
    since_ns: int
    calls: int
    known_since_ns: int
    broken: dict[str, str] = field(default_factory=dict)
    waits: str = ""


class Rollouts:
    """Watches every rollout under way, and takes its next step when that is due."""

    def __init__(self, bus: Bus, registry: Registry, counting: Counting, identity: str) -> None:
        self._bus = bus
        self._registry = registry
        self._counting = counting
        self._identity = identity
        self._nodes: dict[str, _Node] = {}
        self._watched: dict[str, _Watched] = {}
        self._listening_since_ns = clock.monotonic_ns()
        self._looked_ns = self._listening_since_ns
        self._poke = asyncio.Event()
        registry.on_deployed = self._deployed
        counting.on_fault = self._poke.set
        bus.on_reconnect(self._back)

    def _back(self) -> None:
        """This Anchor was away, and has watched nothing meanwhile."""
        self._listening_since_ns = clock.monotonic_ns()
        for function in list(self._watched):
            deployment, _ = self._registry.deployment(function)
            if deployment is not None and deployment.rollout is not None:
                self._watch(function, deployment.rollout, anew=True)

    def _deployed(self, function: str, deployment: Deployment | None) -> None:
        self._counting.follow(function, deployment)
        rollout = deployment.rollout if deployment is not None else None
        if rollout is None:
            self._watched.pop(function, None)
        else:
            if not self._watched:
                # It looks only while there is something to see.
                self._looked_ns = clock.monotonic_ns()
            self._watch(function, rollout)
        self._poke.set()

    def _watch(self, function: str, rollout: Rollout, *, anew: bool = False) -> _Watched:
        """What this Anchor has seen of the rollout at its present step; `anew` forgets for how long."""
        watched, step = self._watched.get(function), (rollout.step, rollout.weight)
        if watched is None or watched.rollout != rollout.id or watched.step != step or anew:
            seen = self._counting.total(function)
            broken = watched.broken if watched is not None and watched.rollout == rollout.id else {}
            calls = seen.old.calls + seen.new.calls if seen is not None else 0
            now = clock.monotonic_ns()
            known_since = now if watched is None or watched.rollout != rollout.id else watched.known_since_ns
            watched = _Watched(rollout.id, step, now, calls, known_since, broken)
            self._watched[function] = watched
        return watched

    # --- what is heard ---------------------------------------------------------------------------------------

    def announced(self, news: Announcement) -> None:
        """A runtime told of a worker: of the new version only what keeps it from running matters here."""
        deployment, _ = self._registry.deployment(news.function)
        rollout = deployment.rollout if deployment is not None else None
        if rollout is None or news.digest != rollout.digest:
            return
        if news.event == "failed" and (news.given_up or news.short_lives >= SHORT_LIVES):
            self._watch(news.function, rollout).broken[news.node] = news.reason or "its worker failed"
        self._poke.set()

    def heard(self, health: Health) -> None:
        """A runtime or an Anchor said how it is."""
        if health.kind == "runtime":
            self._nodes[health.instance] = _Node(health.labels, health.state == "up", clock.monotonic_ns())
            for trouble in health.troubles:
                self._troubled(health.instance, trouble)
        elif health.kind == "anchor" and health.instance != self._identity:
            self._counting.heard(health.rollouts)

    def _troubled(self, node: str, trouble: Trouble) -> None:
        """A node has given a version up: whoever missed that it failed hears of it here."""
        deployment, _ = self._registry.deployment(trouble.function)
        rollout = deployment.rollout if deployment is not None else None
        if rollout is None or not trouble.given_up or trouble.version != rollout.version:
            return
        watched = self._watch(trouble.function, rollout)
        # The node may not have heard yet that the version is to be tried again.
        if clock.monotonic_ns() - watched.known_since_ns > _LISTEN_S * _S:
            watched.broken.setdefault(node, trouble.reason)
            self._poke.set()

    # --- deciding and writing --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take steps until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY_S if self._watched else None):
                    await self._poke.wait()
            except TimeoutError:
                pass
            self._poke.clear()
            if self._watched and clock.monotonic_ns() - self._looked_ns > _AWAY_S * _S:
                self._back()
            for function in list(self._watched):
                try:
                    await self._look(function)
                except NotStored as error:
                    log.info("rollout not written", function=function, reason=str(error))
                    await asyncio.sleep(_AGAIN_S)
            self._looked_ns = clock.monotonic_ns()

    async def _look(self, function: str) -> None:
        deployment, revision = self._registry.deployment(function)
        if deployment is None or deployment.rollout is None:
            return
        verdict = self._verdict(deployment, deployment.rollout)
        after = _after(deployment, verdict, by=self._identity)
        if after is None:
            return
        log.info("rollout goes on", function=function, version=deployment.rollout.version, verdict=str(verdict))
        await self._write(function, after, revision)

    def _verdict(self, deployment: Deployment, rollout: Rollout) -> Verdict:
        # Nothing of it runs, so nothing can be learned, and no time passes.
        watched = self._watch(deployment.function, rollout, anew=not deployment.wanted)
        seen = self._counting.total(deployment.function)
        if not deployment.wanted or seen is None:
            return Wait("the function is not running")
        now = clock.monotonic_ns()
        self._nodes = {name: node for name, node in self._nodes.items() if now - node.seen_ns < DOWN_AFTER_S * _S}
        present = self._registry.instances(deployment.function)
        gone = self._registry.versions(deployment.function).withdrawn
        standing = Standing(
            nodes=frozenset(
                name for name, node in self._nodes.items() if node.up and deployment.wants_node(node.labels)
            ),
            ready=frozenset(one.node for one in present if one.card.digest == rollout.digest and one.state == "up"),
            broken=watched.broken,
            old_runs=any(one.card.digest not in {rollout.digest, *gone} for one in present),
            watched_s=(now - watched.since_ns) / _S,
            calls=seen.old.calls + seen.new.calls - watched.calls,
            informed=now - self._listening_since_ns > _LISTEN_S * _S,
        )
        verdict = decide(deployment, seen, standing)
        if isinstance(verdict, Wait) and verdict.reason != watched.waits:
            watched.waits = verdict.reason
            log.info("rollout waits", function=deployment.function, version=rollout.version, reason=verdict.reason)
        return verdict

    async def _write(self, function: str, after: Deployment, revision: int) -> None:
        """Write the next state, unless somebody else has changed the deployment meanwhile."""
        subject = f"$KV.{streams.BUCKET_FUNCTIONS}.{function}"
        try:
            sequence = await store(
                self._bus, subject, codec.encode(after, codec.JSON), headers={_EXPECTED: str(revision)}
            )
        except NotStored as error:
            if error.came_second:
                # The watch brings what they wrote.
                return
            raise
        # It brings this as well, but until then jobs would go where they should not.
        self._registry.set_deployment(function, after, sequence)


def _after(deployment: Deployment, verdict: Verdict, *, by: str) -> Deployment | None:
    at = clock.utc_now()
    match verdict:
        case Wait():
            return None
        case Weight():
            return rollouts.weigh(deployment, verdict.step, at=at, by=by, reason=verdict.reason)
        case Promote():
            return rollouts.promote(deployment, at=at, by=by, reason=verdict.reason)
        case RollBack():
            return rollouts.roll_back(deployment, at=at, by=by, reason=verdict.reason)
