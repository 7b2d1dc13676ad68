"""From what should run and what does run to what to do next. Pure decisions, no effects.

A new version starts beside the old one, and an old worker is drained only when a new one is
ready to take its place. So a version that never becomes ready takes nothing away. While a rollout is
under way both versions have all their workers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from contracts.functions import Deployment
from contracts.rollouts import on_its_way, withdrawn

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
    versions = dict.fromkeys(slots, deployment)
    trial = on_its_way(wish.deployment)
    if trial is not None:
        versions |= dict.fromkeys(_slots(trial, wish.epoch, trial.workers), trial)
    wanted = [worker for worker in workers if worker.slot in slots]
    surplus = [worker for worker in workers if worker.slot not in versions]
    free = sorted(versions.keys() - {worker.slot for worker in workers} - held - given_up)
    actions: list[Action] = [StartWorker(slot, versions[slot]) for slot in free]
    gone = withdrawn(wish.deployment)
    keep = len(slots) - sum(worker.phase == "ready" for worker in wanted)
    for worker in surplus:
        same = worker.slot.digest == deployment.digest and worker.slot.epoch == wish.epoch
        if not same and worker.phase == "ready" and keep > 0:
            keep -= 1
        elif same:
            actions.append(DrainWorker(worker.instance, f"scaled to {len(slots)}"))
        elif worker.slot.digest == deployment.digest:
            actions.append(DrainWorker(worker.instance, "restarted"))
        elif worker.slot.digest in gone:
            actions.append(DrainWorker(worker.instance, f"withdrawn in favour of version {deployment.version}"))
        else:
            actions.append(DrainWorker(worker.instance, f"replaced by version {deployment.version}"))
    return actions


def _slots(deployment: Deployment, epoch: int, count: int) -> list[Slot]:
    return [Slot(deployment.function, deployment.digest, epoch, number) for number in range(count)]


def begun_or_ended(before: Deployment, after: Deployment) -> set[str]:
    """The versions whose rollout began or ended in between: what is remembered of them is of no use."""
    rollouts = {one.id: one.digest for one in (before.rollout, after.rollout) if one is not None}
    same = before.rollout is not None and after.rollout is not None and before.rollout.id == after.rollout.id
    return set() if same else set(rollouts.values())


def changed(before: Deployment, after: Deployment) -> bool:
    """Whether something else is wished than before: what failed then may succeed now."""
    return any(
        getattr(before, name) != getattr(after, name) for name in ("digest", "enabled", "workers", "match", "upload")
    )
