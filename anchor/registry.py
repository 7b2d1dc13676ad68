"""Who can run what, now: the state behind routing, without any I/O.

An instance enters with its card (from its runtime's announcement, or from its own
`$SRV.INFO`, which only the right JWT can answer). What is believed of it follows four signals
in falling authority:

1. the server's word that its connection is gone: suspect at once, down unless it is back soon
2. nobody listens on its work subject: suspect at once, down unless a call arrives again soon;
   somebody listens there and does not answer: down
3. its heartbeat: suspect after 2.5 s of silence, down after 5 s
4. its STATS: limit, load, draining; they never say that it is up

Down for good is only what its runtime says is stopped; any other instance comes back by proving
itself (`$SRV.INFO` and its work endpoint answer).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from anchor.breakers import Breaker, Standing, ejections
from anchor.instance import Instance
from anchor.known import Known
from anchor.limiter import Limiter
from anchor.nodes import Nodes
from anchor.pressure import Capacity
from anchor.router import ALIKE, Versions, split
from contracts.functions import Deployment
from contracts.modules import DOWN_AFTER_S, SUSPECT_AFTER_S, Card, Routed, State

__all__ = ["Instance", "Registry"]

_S = 1_000_000_000
SMOOTHING = 0.1
RECONNECT_NS = 600_000_000
"""A worker whose connection broke tries anew at once and then every quarter of a second."""
_IN_TRANSIT_NS = 100_000_000
"""A heartbeat this soon after the connection's end was sent before it."""
_REMEMBER_NS = 600 * _S
_MOST_SHOWN = 64


@dataclass(frozen=True, slots=True)
class _Gone:
    at_ns: int
    final: bool


class Registry:
    """Functions, their deployments and their live instances.

    `on_free` is called with a function's name whenever it may have gained a free slot, `on_lost`
    with an instance that is gone and the reason, `on_back` with one that has a new connection,
    so that it cannot answer the calls that came over the old one, `on_deployed` with a changed wish.
    """

    def __init__(self, *, breaker: Callable[[], Breaker] = Breaker) -> None:
        self._functions: dict[str, Known] = {}
        self._by_id: dict[str, Instance] = {}
        self._by_key: defaultdict[str, set[str]] = defaultdict(set)
        self._gone: dict[str, _Gone] = {}
        self._breaker = breaker
        self.nodes = Nodes()
        self.on_free: Callable[[str], None] = lambda _: None
        self.on_lost: Callable[[Instance, str], None] = lambda _, __: None
        self.on_back: Callable[[Instance], None] = lambda _: None
        self.on_deployed: Callable[[str, Deployment | None], None] = lambda _, __: None

    def _known(self, function: str) -> Known:
        return self._functions.setdefault(function, Known())

    def functions(self) -> list[str]:
        """Every function that is deployed or has an instance."""
        return sorted(name for name, known in self._functions.items() if known.deployment or known.instances)

    def exists(self, function: str) -> bool:
        """Whether the function is deployed or somebody serves it; not one whose workers leave since it was deleted."""
        known = self._functions.get(function)
        if known is None or known.deployment is not None:
            return known is not None
        return any(not known.deleted or one.state != "draining" for one in known.instances.values())

    def deleted(self, function: str) -> bool:
        """Whether its deployment was deleted and nobody serves it any more.

        An external module has no deployment, and one that is away for a moment is not deleted.
        """
        known = self._functions.get(function)
        return known is not None and known.deleted and not known.instances

    def enabled(self, function: str) -> bool:
        """Whether new jobs may be given to it. A function without a deployment is an external module."""
        known = self._functions.get(function)
        return known is not None and (known.deployment is None or known.deployment.enabled)

    def card(self, function: str) -> Card | None:
        """The card of the deployed version, else the newest seen: it outlives its workers."""
        known = self._functions.get(function)
        return known.card if known else None

    def versions(self, function: str) -> Versions:
        """Which versions of a function get jobs."""
        known = self._functions.get(function)
        return known.versions if known else ALIKE

    def deployment(self, function: str) -> tuple[Deployment | None, int]:
        """The wish for a function, and its revision in the bucket."""
        known = self._functions.get(function)
        return (known.deployment, known.revision) if known else (None, 0)

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

    def set_deployment(self, function: str, deployment: Deployment | None, revision: int = 0) -> None:
        """Take over the wish for a function; None when it was deleted."""
        self._known(function).wish(deployment, revision)
        self.on_deployed(function, deployment)
        # Another version may have free slots.
        self.on_free(function)

    # --- who is there ----------------------------------------------------------------------------------------

    def ready(
        self,
        instance: str,
        node: str,
        card: Card,
        labels: dict[str, str],
        now_ns: int,
        *,
        user_key: str | None = None,
        proved: bool = False,
    ) -> bool:
        """An instance can be called. Saying it again refreshes it, unless it is known to be gone.

        Returns False when it has to prove itself first: it was down, and `proved` is not said.
        `user_key` is the key that the server knows it by; who claims another's only shares its fate.
        """
        gone = self._gone.get(instance)
        if gone is not None:
            if gone.final or not proved:
                return gone.final
            del self._gone[instance]
        known = self._known(card.function)
        known.keep(card)
        entry = self._by_id.get(instance)
        if entry is None:
            limiter = Limiter(card.limits.concurrency)
            entry = Instance(instance, node, card, dict(labels), now_ns, limiter, self._breaker(), worked_ns=now_ns)
            known.instances[instance] = self._by_id[instance] = entry
            self._eject(card.function)
            self.on_free(card.function)
        entry.seen_ns = now_ns
        if user_key and user_key != entry.user_key:
            self._forget_key(entry)
            entry.user_key = user_key
            self._by_key[user_key].add(instance)
        return True

    def was_down(self, instance: str) -> bool:
        """Whether it left in a way that it may come back from."""
        gone = self._gone.get(instance)
        return gone is not None and not gone.final

    def _forget_key(self, entry: Instance) -> None:
        if entry.user_key is not None:
            self._by_key[entry.user_key].discard(entry.id)
            if not self._by_key[entry.user_key]:
                del self._by_key[entry.user_key]

    def draining(self, instance: str) -> None:
        """It finishes what it has and takes nothing new. There is no way back."""
        entry = self._by_id.get(instance)
        if entry is not None:
            self._set(entry, "draining", "draining")

    def lost(self, instance: str, reason: str, now_ns: int, *, final: bool = True) -> None:
        """An instance is gone: for good when its runtime says so, else until it proves itself."""
        known = self._gone.get(instance)
        self._gone[instance] = _Gone(now_ns, final or (known is not None and known.final))
        entry = self._by_id.pop(instance, None)
        if entry is None:
            return
        entry.state, entry.reason = "down", reason
        self._forget_key(entry)
        self._functions[entry.function].instances.pop(instance, None)
        self._eject(entry.function)
        self.on_lost(entry, reason)

    # --- signs of life and of death --------------------------------------------------------------------------

    def disconnected(self, user_key: str, reason: str, now_ns: int, *, final: bool = False) -> list[Instance]:
        """The server lost the last connection of this key. Returns the instances that are suspect now."""
        found = [self._by_id[name] for name in self._by_key.get(user_key, ())]
        for entry in found:
            if final:
                self.lost(entry.id, f"disconnected: {reason}", now_ns, final=False)
            elif entry.gone_ns is None:
                entry.gone_ns = now_ns
                self._suspect(entry, f"disconnected: {reason}")
        return found

    def _suspect(self, entry: Instance, reason: str) -> None:
        self._set(entry, "suspect" if entry.state == "up" else entry.state, reason)

    def unheard(self, instance: str, reason: str, now_ns: int) -> None:
        """Nobody listens on its work subject: it is gone, or between two connections.

        It gets no call from here on. Its heart says nothing of that end, so it is not up again by a heartbeat.
        """
        entry = self._by_id.get(instance)
        if entry is not None and entry.gone_ns is None:
            entry.gone_ns, entry.unheard = now_ns, True
            self._suspect(entry, reason)

    def answered(self, instance: str, now_ns: int) -> None:
        """It answered a call or a probe."""
        entry = self._by_id.get(instance)
        if entry is not None:
            entry.seen_ns = now_ns
            if entry.gone_ns is not None:
                self._back(entry)

    def connected(self, user_key: str, now_ns: int) -> None:
        """The server accepted a connection of this key."""
        for name in list(self._by_key.get(user_key, ())):
            entry = self._by_id[name]
            entry.seen_ns = now_ns
            if entry.gone_ns is not None:
                self._back(entry)

    def _back(self, entry: Instance) -> None:
        entry.gone_ns, entry.unheard = None, False
        if entry.state == "suspect":
            self._set(entry, "up", "")
        self.on_back(entry)

    def heard(self, instance: str, state: State, limit: int, now_ns: int, *, load: int = 0) -> bool:
        """A heartbeat. Returns False when the instance is unknown and should be asked who it is."""
        entry = self._by_id.get(instance)
        if entry is None:
            gone = self._gone.get(instance)
            return gone is not None and gone.final
        if entry.gone_ns is not None:
            if entry.unheard or now_ns - entry.gone_ns < _IN_TRANSIT_NS:
                return True
            self._back(entry)
        entry.seen_ns = now_ns
        entry.reported(limit=limit, load=load, now_ns=now_ns)
        if entry.state != "draining":
            self._set(entry, state, "" if state == "up" else "says so itself")
        return True

    def stats(self, instance: str, *, limit: int, load: int, draining: bool, now_ns: int) -> None:
        """An answer on `$SRV.STATS`: what its endpoint says of load, and no sign of health."""
        entry = self._by_id.get(instance)
        if entry is not None:
            entry.reported(limit=limit, load=load, now_ns=now_ns)
            if draining:
                self.draining(instance)

    def _set(self, entry: Instance, state: State, reason: str) -> None:
        before, entry.state, entry.reason = entry.state, state, reason
        if before != state:
            self._eject(entry.function)
            if state == "up":
                self.on_free(entry.function)

    def tick(self, now_ns: int) -> None:
        """Judge what only time can tell: silence, connections that do not come back, breakers."""
        for entry in list(self._by_id.values()):
            silent = now_ns - entry.seen_ns
            if entry.gone_ns is not None and now_ns - entry.gone_ns > RECONNECT_NS:
                self.lost(entry.id, entry.reason or "disconnected", now_ns, final=False)
            elif silent > DOWN_AFTER_S * _S:
                self.lost(entry.id, f"no heartbeat for {silent / _S:.1f} s", now_ns, final=False)
            elif silent > SUSPECT_AFTER_S * _S and entry.state == "up":
                self._set(entry, "suspect", f"no heartbeat for {silent / _S:.1f} s")
            if entry.breaker.tick(now_ns):
                self._eject(entry.function)
                self.on_free(entry.function)
        forget = now_ns - _REMEMBER_NS
        self._gone = {instance: gone for instance, gone in self._gone.items() if gone.at_ns > forget}

    def forgive_silence(self, now_ns: int) -> None:
        """After this Anchor's own connection was gone, nobody's silence counts against them."""
        for entry in self._by_id.values():
            entry.seen_ns = now_ns
            if entry.gone_ns is not None:
                self._back(entry)

    # --- what calls tell -------------------------------------------------------------------------------------

    def succeeded(self, entry: Instance, *, queue_ns: int, run_ns: int, began_ns: int, now_ns: int) -> None:
        """A call ended with a stored result, whatever was measured."""
        self.ran(entry.function, run_ns)
        entry.worked_ns = now_ns
        entry.limiter.succeeded(queue_ns, entry.in_flight, now_ns)
        self._outcome(entry, ok=True, began_ns=began_ns, now_ns=now_ns)

    def faulted(self, entry: Instance, *, began_ns: int, now_ns: int) -> None:
        """A call ended with a fault of the worker."""
        self._outcome(entry, ok=False, began_ns=began_ns, now_ns=now_ns)

    def pressed(self, entry: Instance, for_ns: int, now_ns: int, *, full: bool) -> None:
        """It refused a call and is left alone for a moment; `full`: because every slot was taken."""
        entry.worked_ns = now_ns
        entry.pressed_until_ns = now_ns + for_ns
        if full:
            entry.limiter.pressed(now_ns)

    def _outcome(self, entry: Instance, *, ok: bool, began_ns: int, now_ns: int) -> None:
        if entry.breaker.ended(ok=ok, began_ns=began_ns, now_ns=now_ns):
            self._eject(entry.function)
            self.on_free(entry.function)

    def _eject(self, function: str) -> None:
        group = self._functions[function].instances
        out = ejections(Standing(one.id, one.state == "up", one.breaker.opened_ns) for one in group.values())
        for one in group.values():
            one.ejected = one.id in out

    def open_breakers(self) -> list[str]:
        """Instances whose breaker is not closed."""
        return sorted(one.id for one in self._by_id.values() if not one.breaker.closed)

    def routed(self) -> list[Routed]:
        """Instances that are not used fully, and why: those that are not up first, at most 64."""
        shown = [
            Routed(
                instance=one.id,
                state=one.state,
                limit=round(one.limit, 2),
                cap=one.limiter.cap,
                breaker=one.breaker.state,
                ejected=one.ejected,
                reason=one.reason,
            )
            for one in self._by_id.values()
            if one.state != "up" or one.limit < one.limiter.cap or not one.breaker.closed
        ]
        return sorted(shown, key=lambda one: (one.state == "up", not one.ejected, one.limit / one.cap))[:_MOST_SHOWN]

    # --- how long it takes -----------------------------------------------------------------------------------

    def ran(self, function: str, run_ns: int) -> None:
        """Learn how long jobs of a function take, for the expected wait."""
        known = self._known(function)
        known.run_ns = run_ns if known.run_ns is None else known.run_ns + SMOOTHING * (run_ns - known.run_ns)
        known.runs += 1

    def capacity(self, function: str, *, node: str | None = None) -> Capacity:
        """What a function can do on one node, or anywhere, with the instances that get calls now.

        A version on its way is left out: its share of them is small or not yet earned.
        """
        known = self._functions.get(function)
        if known is None:
            return Capacity(width=0.0, free=0, run_ns=None)
        width, free = 0.0, 0
        for one in split(list(known.instances.values()), known.versions)[0]:
            if (node is None or one.node == node) and one.state == "up" and not one.ejected:
                limit = one.limiter.limit
                width += limit
                left = int(limit) - one.in_flight - one.elsewhere
                if left > 0:
                    free += left
        return Capacity(width, free, known.run_ns, known.runs)
