"""Which instance gets the next call: first the version by its share, then two random candidates.

Of the two the less loaded one wins. Queue groups choose blindly, so one worker holds two calls while another idles; looking at
everyone makes several Anchors pile onto the same idle worker. Two choices avoid both
(Mitzenmacher 2001). Pure: the caller brings candidates and the source of chance.

A version on its way gets its share of the calls and never more: a job for the old version waits when
that is busy, while the old one takes what the new one has no slot for.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from anchor.instance import Instance
from contracts.functions import Deployment
from contracts.rollouts import withdrawn


@dataclass(frozen=True, slots=True)
class Versions:
    """Which versions of a function get jobs.

    `deployed` is the digest that is deployed, `trial` the one on its way and `weight` its share of people's jobs; `mirrored` the share of jobs
    that are run on it a second time; `withdrawn` digests get a job only where nothing else is.
    """

    deployed: str | None = None
    trial: str | None = None
    weight: float = 0.0
    mirrored: float = 0.0
    withdrawn: frozenset[str] = frozenset()

    def runs(self, digest: str | None) -> bool:
        """Whether a job that asks for this version can still be run; None asks for none."""
        return digest is None or digest in {self.deployed, self.trial}

    def tries(self, digest: str) -> bool:
        """Whether this version is on trial, or was a moment ago and is withdrawn."""
        return digest == self.trial or digest in self.withdrawn


ALIKE = Versions()
"""Every instance is as good as any other."""


def versions_of(deployment: Deployment | None) -> Versions:
    """Read them off a deployment; an external module has none, and no versions either."""
    if deployment is None:
        return ALIKE
    rollout, gone = deployment.rollout, withdrawn(deployment)
    if rollout is None:
        return Versions(deployed=deployment.digest, withdrawn=gone)
    paired = rollout.strategy.paired
    return Versions(
        deployed=deployment.digest,
        trial=rollout.digest,
        weight=0.0 if paired else rollout.weight,
        mirrored=rollout.weight if paired else 0.0,
        withdrawn=gone,
    )


def split(candidates: Sequence[Instance], versions: Versions) -> tuple[Sequence[Instance], Sequence[Instance]]:
    """Divide candidates into those that count as the old version, and those on trial.

    Where no instance of the old version is, all count as such, so that no job starves.
    """
    if versions.trial is None and not versions.withdrawn:
        return candidates, ()
    old = [one for one in candidates if one.card.digest != versions.trial and one.card.digest not in versions.withdrawn]
    if not old:
        return candidates, ()
    return old, [one for one in candidates if one.card.digest == versions.trial]


def pick(
    candidates: Sequence[Instance],
    versions: Versions,
    now_ns: int,
    chance: random.Random,
    *,
    on_trial: bool,
    avoid: Collection[str] = (),
) -> Instance | None:
    """Pick an instance with a free slot for a job that was drawn for the version on trial, or for the old one."""
    old, trial = split(candidates, versions)
    if on_trial and trial:
        chosen = choose(trial, now_ns, chance, avoid=avoid)
        if chosen is not None:
            return chosen
    return choose(old, now_ns, chance, avoid=avoid)


def choose(
    candidates: Sequence[Instance], now_ns: int, chance: random.Random, *, avoid: Collection[str] = ()
) -> Instance | None:
    """Pick an instance with a free slot, or None when there is none.

    Who is up, not pressed, below its learned limit and not ejected has one (`Instance.free`).
    Instances in `avoid` are taken only when nobody else is there at all, busy or not.
    """
    others = [instance for instance in candidates if instance.id not in avoid] if avoid else candidates
    free = [instance for instance in (others or candidates) if instance.free(now_ns) > 0]
    if not free:
        return None
    first, second = chance.choice(free), chance.choice(free)
    return first if first.load <= second.load else second
