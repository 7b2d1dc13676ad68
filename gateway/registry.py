"""Who is there: workers, runtimes, Anchors and gateways, folded from announcements and heartbeats.

Pure bookkeeping with the time handed in. The subject a message came on is bound to its
sender's identity, so it is believed over what the message says of itself.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from msgspec import Struct

from contracts.modules import (
    DOWN_AFTER_S,
    SUSPECT_AFTER_S,
    Announcement,
    Card,
    Health,
    Kind,
    State,
    WorkerEvent,
    node_of,
)

FORGET_AFTER_S = 60.0
"""How long an instance that is down stays listed."""
KEEP_AFTER_S = 600.0
"""How long it is kept in memory: heartbeats that an outage held up find the announcement still there."""
_CARDS = 512
_NS = 1_000_000_000


class Module(Struct, frozen=True, kw_only=True):
    """One instance as people see it. `age_s` is the time since its last heartbeat, None before the first."""

    instance: str
    kind: Kind
    state: State
    node: str | None
    function: str | None = None
    version: str | None = None
    digest: str | None = None
    labels: dict[str, str] = {}
    age_s: float | None = None
    last_event: WorkerEvent | None = None
    reason: str = ""
    pid: int | None = None
    box: str | None = None
    egress: str | None = None
    gaps: list[str] | None = None
    health: Health | None = None


@dataclass(slots=True)
class _Seen:
    announced: Announcement | None = None
    card: Card | None = None
    announced_ns: int = 0
    health: Health | None = None
    beat_ns: int = 0

    @property
    def newest_ns(self) -> int:
        return max(self.announced_ns, self.beat_ns)


class Registry:
    """Current instances, and the newest card of every function version."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._cards: OrderedDict[tuple[str, str], Card] = OrderedDict()

    def announced(self, node: str, announcement: Announcement, at_ns: int) -> None:
        """Take an announcement of a node's runtime, stored at `at_ns`."""
        if announcement.node != node or node_of(announcement.instance) != node:
            return
        seen = self._seen.setdefault(announcement.instance, _Seen())
        if at_ns < seen.announced_ns:
            return
        seen.announced, seen.announced_ns = announcement, at_ns
        card = announcement.card
        if card is not None:
            seen.card = card
            key = (card.function, card.version)
            self._cards[key] = card
            self._cards.move_to_end(key)
            if len(self._cards) > _CARDS:
                self._cards.popitem(last=False)

    def beat(self, instance: str, health: Health, at_ns: int) -> None:
        """Take a heartbeat, stored at `at_ns`."""
        if health.instance != instance:
            return
        seen = self._seen.setdefault(instance, _Seen())
        if at_ns >= seen.beat_ns:
            seen.health, seen.beat_ns = health, at_ns

    def card(self, function: str, version: str) -> Card | None:
        """What a worker of this version said of itself when it last became ready."""
        return self._cards.get((function, version))

    def modules(self, now_ns: int, *, function: str | None = None) -> list[Module]:
        """Everyone who is up, or has not been down for long; of one function when it is named."""
        found = (
            _module(name, seen, now_ns)
            for name, seen in sorted(self._seen.items())
            if now_ns - seen.newest_ns <= FORGET_AFTER_S * _NS
        )
        return [module for module in found if function is None or module.function == function]

    def prune(self, now_ns: int) -> None:
        """Forget who has been silent for so long that nobody asks any more."""
        for name in [name for name, seen in self._seen.items() if now_ns - seen.newest_ns > KEEP_AFTER_S * _NS]:
            del self._seen[name]


def _module(instance: str, seen: _Seen, now_ns: int) -> Module:
    health, announced = seen.health, seen.announced
    function = announced.function if announced else health.function if health else None
    card = seen.card
    return Module(
        instance=instance,
        kind="worker" if announced else health.kind if health else "worker",
        state=_state(seen, now_ns),
        node=announced.node if announced else health.node if health else None,
        function=function,
        version=announced.version if announced else health.version if health else None,
        digest=announced.digest if announced else None,
        labels=(announced.labels if announced and announced.labels else health.labels if health else {}),
        age_s=round((now_ns - seen.beat_ns) / _NS, 3) if health else None,
        pid=announced.pid if announced else None,
        last_event=announced.event if announced else None,
        reason=announced.reason if announced else "",
        box=card.box if card else None,
        egress=card.egress if card else None,
        gaps=card.gaps if card else None,
        health=health,
    )


def _state(seen: _Seen, now_ns: int) -> State:
    """What heartbeats say, unless their absence or the runtime says worse."""
    if seen.announced is not None and seen.announced.event in {"stopped", "failed"}:
        return "down"
    silent_s = (now_ns - seen.newest_ns) / _NS if seen.health is None else (now_ns - seen.beat_ns) / _NS
    if silent_s > DOWN_AFTER_S:
        return "down"
    if seen.announced is not None and seen.announced.event == "draining":
        return "draining"
    if seen.health is None:
        return "starting"
    return "suspect" if silent_s > SUSPECT_AFTER_S and seen.health.state == "up" else seen.health.state
