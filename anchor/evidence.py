"""What this Anchor's calls, and by hearsay those of other Anchors, tell of a version on its way."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from anchor import outcomes
from anchor.calls import Served, WorkerLost
from anchor.instance import Instance
from contracts.errors import MmnError, Refused
from contracts.evidence import CallCounts, Evidence, Pairs, bucket_of, merge
from contracts.functions import Deployment, Rollout
from contracts.redaction import redact_text

_MOST_PUBLISHED = 16
_MOST_SOURCES = 64
_LONGEST_FAULT = 200


@dataclass(slots=True)
class _Count:
    calls: int = 0
    faults: int = 0
    failures: int = 0
    last_fault: str = ""
    wait: Counter[int] = field(default_factory=Counter)
    run: Counter[int] = field(default_factory=Counter)

    def tally(self) -> CallCounts:
        return CallCounts(
            calls=self.calls,
            faults=self.faults,
            failures=self.failures,
            last_fault=self.last_fault,
            wait=dict(self.wait),
            run=dict(self.run),
        )


@dataclass(slots=True)
class _Open:
    """A rollout under way: what this Anchor saw, and the newest of what each other source saw."""

    rollout: Rollout
    old_digest: str
    old: _Count = field(default_factory=_Count)
    new: _Count = field(default_factory=_Count)
    pairs: Pairs = field(default_factory=Pairs)
    others: dict[str, Evidence] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    def count_of(self, digest: str) -> _Count | None:
        if digest == self.rollout.digest:
            return self.new
        return self.old if digest == self.old_digest else None


def counts_against(error: MmnError) -> bool:
    """Whether a call that stored no result counts against its version.

    More than against its worker: a version that refuses what the other takes is worse, and what no version
    takes counts against both.
    """
    return outcomes.is_fault(error) or (isinstance(error, Refused) and error.code in {400, 413, 415, 424})


class Counting:
    """Counts for every rollout under way, and for nothing else. `on_fault` is told of a new version's fault."""

    def __init__(self, source: str = "") -> None:
        self._source = source or secrets.token_hex(6)
        self._open: dict[str, _Open] = {}
        self.on_fault: Callable[[], None] = lambda: None

    def follow(self, function: str, deployment: Deployment | None) -> None:
        """Take over a deployment: a rollout that it has is counted from now on."""
        rollout = deployment.rollout if deployment is not None else None
        known = self._open.get(function)
        if deployment is None or rollout is None:
            self._open.pop(function, None)
        elif known is None or known.rollout.id != rollout.id:
            self._open[function] = _Open(rollout, deployment.digest)

    # --- what calls tell -------------------------------------------------------------------------------------

    def succeeded(self, instance: Instance, served: Served, took_ns: int) -> None:
        """A call ended with a stored result after so long, seen from here."""
        count = self._count(instance)
        if count is not None:
            count.calls += 1
            count.failures += served.reply.failure is not None
            # Measured from outside: a worker whose loop stands still does not see what waits for it.
            count.wait[bucket_of(took_ns - served.run_ns)] += 1
            count.run[bucket_of(served.run_ns)] += 1

    def failed(self, instance: Instance, error: MmnError) -> None:
        """A call ended without a result."""
        count = self._count(instance)
        if count is None or not counts_against(error):
            return
        opened = self._open[instance.function]
        if isinstance(error, WorkerLost):
            # One death takes many calls with it, and says no more than one fault does.
            if instance.id in opened.lost:
                return
            opened.lost.add(instance.id)
        count.calls += 1
        count.faults += 1
        text = error.message if isinstance(error, Refused) else str(error)
        count.last_fault = redact_text(text[:_LONGEST_FAULT])
        if count is opened.new:
            self.on_fault()

    def paired(self, rollout: str, function: str, pair: Pairs) -> None:
        """A job and its twin have ended."""
        opened = self._open.get(function)
        if opened is not None and opened.rollout.id == rollout:
            opened.pairs += pair
            self.on_fault()

    def _count(self, instance: Instance) -> _Count | None:
        opened = self._open.get(instance.function)
        return None if opened is None else opened.count_of(instance.card.digest)

    # --- what is known in all --------------------------------------------------------------------------------

    def own(self) -> list[Evidence]:
        """What this Anchor saw, to be published."""
        return [self._of(function, opened) for function, opened in list(self._open.items())[:_MOST_PUBLISHED]]

    def heard(self, told: Iterable[Evidence]) -> None:
        """Another Anchor published what it saw; what an Anchor saw that is gone now still counts."""
        for evidence in told:
            opened = self._open.get(evidence.function)
            if opened is None or opened.rollout.id != evidence.rollout or evidence.source == self._source:
                continue
            if evidence.source in opened.others or len(opened.others) < _MOST_SOURCES:
                opened.others[evidence.source] = evidence

    def total(self, function: str) -> Evidence | None:
        """All that is known of a function's rollout, or None without one."""
        opened = self._open.get(function)
        if opened is None:
            return None
        return merge(opened.rollout, function, [self._of(function, opened), *opened.others.values()])

    def _of(self, function: str, opened: _Open) -> Evidence:
        return Evidence(
            rollout=opened.rollout.id,
            function=function,
            source=self._source,
            old=opened.old.tally(),
            new=opened.new.tally(),
            pairs=opened.pairs,
        )
