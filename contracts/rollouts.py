"""Replacing a version: the steps of a rollout, each from one deployment to the next.

Every step is a pure function from one `Deployment` to the next, so that gateways and Anchors, which
write the same bucket by compare-and-set, agree on what a step is.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from contracts.functions import Deployment, Manifest, Rollout, RolloutEvent, RolloutStep, Strategy

KEPT_STEPS = 16
_LONGEST_REASON = 500


class Version(Struct, frozen=True, kw_only=True):
    """One uploaded version in full."""

    version: str
    digest: str
    manifest: Manifest
    size: int = 0
    uploaded_by: str = ""
    uploaded_at: str = ""


# --- from one deployment to the next ---------------------------------------------------------------------


def _noted(
    before: Deployment, what: RolloutEvent, version: str, *, at: str, by: str, reason: str = "", weight: float = 0.0
) -> list[RolloutStep]:
    rollout = before.rollout.id if before.rollout is not None else ""
    step = RolloutStep(
        at=at, version=version, what=what, weight=weight, reason=reason[:_LONGEST_REASON], by=by, rollout=rollout
    )
    return [*before.history, step][-KEPT_STEPS:]


def _over(before: Deployment, successor: str, *, at: str, by: str) -> Deployment:
    """End a rollout that another version comes before the end of."""
    if before.rollout is None:
        return before
    reason = f"{successor} was deployed before it was done"
    steps = _noted(before, "superseded", before.rollout.version, at=at, by=by, reason=reason)
    return replace(before, rollout=None, history=steps)


def begin(before: Deployment, new: Version, strategy: Strategy, *, at: str, by: str) -> Deployment:
    """Set a new version on its way beside the old one; it supersedes one that is under way."""
    rollout = Rollout(
        # One version may be set on its way more than once.
        id=f"{new.digest[:12]}-{at}",
        version=new.version,
        digest=new.digest,
        manifest=new.manifest,
        strategy=strategy,
        size=new.size,
        uploaded_by=new.uploaded_by,
        uploaded_at=new.uploaded_at,
        started_at=at,
        step_since=at,
    )
    begun = replace(_over(before, new.version, at=at, by=by), rollout=rollout)
    return replace(begun, history=_noted(begun, "started", new.version, at=at, by=by))


def replace_at_once(before: Deployment, new: Version, *, at: str, by: str, reason: str = "at once") -> Deployment:
    """Make a version the deployed one without a rollout."""
    free = _over(before, new.version, at=at, by=by)
    return replace(
        free,
        version=new.version,
        digest=new.digest,
        manifest=new.manifest,
        size=new.size,
        uploaded_by=new.uploaded_by,
        uploaded_at=new.uploaded_at,
        previous=free.version,
        history=_noted(free, "promoted", new.version, at=at, by=by, reason=reason, weight=1.0),
    )


def weigh(before: Deployment, step: int, *, at: str, by: str, reason: str = "") -> Deployment:
    """Give the version on its way the share of step number `step`."""
    rollout = before.rollout
    assert rollout is not None
    weight = rollout.strategy.steps[step]
    steps = _noted(before, "weight", rollout.version, at=at, by=by, reason=reason, weight=weight)
    return replace(before, rollout=replace(rollout, step=step, weight=weight, step_since=at), history=steps)


def promote(before: Deployment, *, at: str, by: str, reason: str) -> Deployment:
    """Make the version on its way the deployed one."""
    rollout = before.rollout
    assert rollout is not None
    return replace(
        before,
        version=rollout.version,
        digest=rollout.digest,
        manifest=rollout.manifest,
        size=rollout.size,
        uploaded_by=rollout.uploaded_by,
        uploaded_at=rollout.uploaded_at,
        previous=before.version,
        rollout=None,
        history=_noted(before, "promoted", rollout.version, at=at, by=by, reason=reason, weight=1.0),
    )


def roll_back(before: Deployment, *, at: str, by: str, reason: str) -> Deployment:
    """End a rollout: the old version stays what it was."""
    assert before.rollout is not None
    steps = _noted(before, "rolled-back", before.rollout.version, at=at, by=by, reason=reason)
    return replace(before, rollout=None, history=steps)


def return_to(before: Deployment, old: Version, *, at: str, by: str) -> Deployment:
    """Leave the deployed version for one that was deployed earlier, at once."""
    reason = f"back to {old.version}"
    left = replace(before, history=_noted(before, "rolled-back", before.version, at=at, by=by, reason=reason))
    return replace_at_once(left, old, at=at, by=by, reason=f"after {before.version}")


# --- what a deployment says of versions --------------------------------------------------------------------


def on_its_way(deployment: Deployment) -> Deployment | None:
    """The deployment as it would be with the version on its way, or None without one."""
    rollout = deployment.rollout
    if rollout is None:
        return None
    return replace(deployment, version=rollout.version, digest=rollout.digest, manifest=rollout.manifest)


def withdrawn(deployment: Deployment) -> frozenset[str]:
    """Digests whose last step was back: they get no job while anything else can run it."""
    last = {step.version: step.what for step in deployment.history}
    digests = {
        deployment.versions.get(version, "") for version, what in last.items() if what in {"rolled-back", "superseded"}
    }
    wished = {deployment.digest} | ({deployment.rollout.digest} if deployment.rollout is not None else set())
    return frozenset(digests - wished - {""})
