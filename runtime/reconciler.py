"""From what should run and what does run to what to do next. Pure decisions, no effects.

A new version starts beside the old one, and an old worker is drained only when a new one is
ready to take its place. So a version that never becomes ready takes nothing away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from contracts.functions import Deployment

Phase = Literal["starting", "ready", "draining"]


class Slot(NamedTuple):
    """One of the n places of a function at one digest. `epoch` counts the restarts people asked for."""

    function: str
    digest: str
    epoch: int
    number: int


@dataclass(frozen=True, slots=True)
class Wish:
    """A deployment as this node takes it.

    `fallback` is the last deployment of the function that was ready here: it is kept running
    when the wished one has been given up.
    """

    deployment: Deployment
    epoch: int = 0
    fallback: Deployment | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A worker as the decision sees it."""

    instance: str
    slot: Slot
    phase: Phase


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Fill a slot."""

    slot: Slot
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class DrainWorker:
    """Let a worker finish and end."""

    instance: str
    reason: str


Action = StartWorker | DrainWorker


def reconcile(
    wishes: Mapping[str, Wish],
    running: Iterable[Running],
    labels: dict[str, str],
    *,
    held: Collection[Slot] = (),
    given_up: Collection[Slot] = (),
) -> list[Action]:
    """Decide what to start and what to drain on a node with these labels.

    `held` slots wait for their restart, `given_up` ones are not started again.
    """
    workers: defaultdict[str, list[Running]] = defaultdict(list)
    for worker in running:
        if worker.phase != "draining":
            workers[worker.slot.function].append(worker)
    actions: list[Action] = []
    for function in sorted(wishes.keys() | workers.keys()):
        wish = wishes.get(function)
        if wish is None or not wish.deployment.wants_node(labels):
            reason = _why_unwanted(wish)
            actions += [DrainWorker(worker.instance, reason) for worker in workers[function]]
        else:
            actions += _one(wish, workers[function], frozenset(held), frozenset(given_up))
    return actions


def _why_unwanted(wish: Wish | None) -> str:
    if wish is None:
        return "the function was deleted"
    if not wish.deployment.enabled:
        return "the function is disabled"
    return "not wanted on this node"


def _one(wish: Wish, workers: list[Running], held: frozenset[Slot], given_up: frozenset[Slot]) -> list[Action]:
    deployment = wish.deployment
    slots = _slots(deployment, wish.epoch, deployment.workers)
    if wish.fallback is not None and given_up.issuperset(slots):
        deployment = wish.fallback
        slots = _slots(deployment, wish.epoch, wish.deployment.workers)
    places = set(slots)
    wanted = [worker for worker in workers if worker.slot in places]
    surplus = [worker for worker in workers if worker.slot not in places]
    free = sorted(places - {worker.slot for worker in wanted} - held - given_up)
    actions: list[Action] = [StartWorker(slot, deployment) for slot in free]
    keep = len(slots) - sum(worker.phase == "ready" for worker in wanted)
    for worker in surplus:
        same = worker.slot.digest == deployment.digest and worker.slot.epoch == wish.epoch
        if not same and worker.phase == "ready" and keep > 0:
            keep -= 1
        elif same:
            actions.append(DrainWorker(worker.instance, f"scaled to {len(slots)}"))
        elif worker.slot.digest == deployment.digest:
            actions.append(DrainWorker(worker.instance, "restarted"))
        else:
            actions.append(DrainWorker(worker.instance, f"replaced by version {deployment.version}"))
    return actions


def _slots(deployment: Deployment, epoch: int, count: int) -> list[Slot]:
    return [Slot(deployment.function, deployment.digest, epoch, number) for number in range(count)]
