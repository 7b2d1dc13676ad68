"""Who can run what, now: the state behind routing, without any I/O.

An instance enters with its card (from its runtime's announcement, or from its own
`$SRV.INFO`, which only the right JWT can answer) and leaves when its runtime says so, when
nobody listens on its work subject, or when its heartbeat has been silent too long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from contracts.functions import Deployment
from contracts.modules import DOWN_AFTER_S, SUSPECT_AFTER_S, Card, State

_S = 1_000_000_000
SMOOTHING = 0.1


@dataclass(slots=True, eq=False)
class Instance:
    """A worker as this Anchor sees it. `in_flight` counts this Anchor's own calls only."""

    id: str
    node: str
    card: Card
    labels: dict[str, str]
    seen_ns: int
    state: State = "up"
    in_flight: int = 0
    limit: int = 1
    pressed_until_ns: int = 0

    @property
    def function(self) -> str:
        return self.card.function

    def free(self, now_ns: int) -> int:
        """Calls it may be given now."""
        if self.state != "up" or now_ns < self.pressed_until_ns:
            return 0
        return max(0, self.limit - self.in_flight)


@dataclass(slots=True)
class _Known:
    """What is remembered of a function, also while none of its workers is up."""

    instances: dict[str, Instance] = field(default_factory=dict)
    deployment: Deployment | None = None
    card: Card | None = None
    run_ns: float | None = None


class Registry:
    """Functions, their deployments and their live instances.

    `on_free` is called with a function's name whenever it may have gained a free slot, `on_lost`
    with an instance that is gone and the reason.
    """

    def __init__(self) -> None:
        self._functions: dict[str, _Known] = {}
        self._by_id: dict[str, Instance] = {}
        self._gone: dict[str, int] = {}
        self.deployments_known = False
        self.on_free: Callable[[str], None] = lambda _: None
        self.on_lost: Callable[[Instance, str], None] = lambda _, __: None

    def _known(self, function: str) -> _Known:
        return self._functions.setdefault(function, _Known())

    def functions(self) -> list[str]:
        """Every function that is deployed or has an instance."""
        return sorted(name for name, known in self._functions.items() if known.deployment or known.instances)

    def exists(self, function: str) -> bool:
        """Whether the function is deployed or somebody serves it."""
        known = self._functions.get(function)
        return known is not None and (known.deployment is not None or bool(known.instances))

    def enabled(self, function: str) -> bool:
        """Whether new jobs may be given to it. A function without a deployment is an external module."""
        known = self._functions.get(function)
        return known is not None and (known.deployment is None or known.deployment.enabled)

    def card(self, function: str) -> Card | None:
        """The newest card seen: it outlives its workers, so parameters can be checked meanwhile."""
        known = self._functions.get(function)
        return known.card if known else None

    def instances(self, function: str, *, node: str | None = None) -> list[Instance]:
        """Live instances of a function, on one node or anywhere."""
        known = self._functions.get(function)
        found: Iterable[Instance] = known.instances.values() if known else ()
        return [instance for instance in found if node is None or instance.node == node]

    def all_instances(self) -> list[Instance]:
        """Every live instance."""
        return list(self._by_id.values())

    def get(self, instance: str) -> Instance | None:
        """One instance by id, or None."""
        return self._by_id.get(instance)

    def set_deployment(self, function: str, deployment: Deployment | None) -> None:
        """Take over the wish for a function; None when it was deleted."""
        self._known(function).deployment = deployment

    def ready(self, instance: str, node: str, card: Card, labels: dict[str, str], now_ns: int) -> None:
        """An instance can be called. Saying it again refreshes it, unless it is known to be gone."""
        if instance in self._gone:
            return
        known = self._known(card.function)
        known.card = card
        existing = self._by_id.get(instance)
        if existing is not None:
            existing.seen_ns = now_ns
            return
        entry = Instance(instance, node, card, dict(labels), now_ns, limit=card.limits.concurrency)
        known.instances[instance] = entry
        self._by_id[instance] = entry
        self.on_free(card.function)

    def heard(self, instance: str, state: State, limit: int, now_ns: int) -> bool:
        """A heartbeat. Returns False when the instance is unknown and should be asked who it is."""
        entry = self._by_id.get(instance)
        if entry is None:
            return instance in self._gone
        entry.seen_ns = now_ns
        if limit > 0:
            entry.limit = min(limit, entry.card.limits.concurrency)
        before, entry.state = entry.state, state
        if before != "up" and state == "up":
            self.on_free(entry.function)
        return True

    def draining(self, instance: str) -> None:
        """It finishes what it has and takes nothing new."""
        entry = self._by_id.get(instance)
        if entry is not None:
            entry.state = "draining"

    def lost(self, instance: str, reason: str, now_ns: int) -> None:
        """An instance is gone for good: instance ids are never used twice."""
        self._gone[instance] = now_ns
        entry = self._by_id.pop(instance, None)
        if entry is None:
            return
        entry.state = "down"
        self._functions[entry.function].instances.pop(instance, None)
        self.on_lost(entry, reason)

    def tick(self, now_ns: int) -> None:
        """Judge silence: suspect after 2.5 s, down after 5 s."""
        for entry in list(self._by_id.values()):
            silent = now_ns - entry.seen_ns
            if silent > DOWN_AFTER_S * _S:
                self.lost(entry.id, f"no heartbeat for {silent / _S:.1f} s", now_ns)
            elif silent > SUSPECT_AFTER_S * _S and entry.state == "up":
                entry.state = "suspect"
        forget = now_ns - 600 * _S
        self._gone = {instance: at for instance, at in self._gone.items() if at > forget}

    def forgive_silence(self, now_ns: int) -> None:
        """After this Anchor's own connection was gone, nobody's silence counts against them."""
        for entry in self._by_id.values():
            entry.seen_ns = now_ns

    def ran(self, function: str, run_ns: int) -> None:
        """Learn how long jobs of a function take, for the expected wait."""
        known = self._known(function)
        known.run_ns = run_ns if known.run_ns is None else known.run_ns + SMOOTHING * (run_ns - known.run_ns)

    def expected_wait_ns(self, function: str, ahead: int, *, node: str | None = None) -> int | None:
        """How long a job waits behind `ahead` others; None while nothing has run yet."""
        known = self._functions.get(function)
        width = sum(instance.limit for instance in self.instances(function, node=node))
        if known is None or known.run_ns is None or not width:
            return None
        return int(max(0, ahead - width + 1) * known.run_ns / width)
