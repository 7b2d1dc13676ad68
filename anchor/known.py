"""What an Anchor remembers of a function, also while none of its workers is up."""

from __future__ import annotations

from dataclasses import dataclass, field

from anchor.instance import Instance
from anchor.router import ALIKE, Versions, versions_of
from contracts.functions import Deployment
from contracts.modules import Card

_CARDS = 8


@dataclass(slots=True)
class Known:
    """One function: its instances, the wish for it, its cards by digest, and how long it runs."""

    instances: dict[str, Instance] = field(default_factory=dict)
    deployment: Deployment | None = None
    revision: int = 0
    versions: Versions = ALIKE
    deleted: bool = False
    run_ns: float | None = None
    runs: int = 0
    _cards: dict[str, Card] = field(default_factory=dict)
    _newest: Card | None = None

    def wish(self, deployment: Deployment | None, revision: int) -> None:
        """Take over what is wished; None when it was deleted."""
        self.deployment, self.deleted, self.revision = deployment, deployment is None, revision
        self.versions = versions_of(deployment)

    def keep(self, card: Card) -> None:
        """Remember the card of a worker that is ready."""
        self._newest = self._cards[card.digest] = card
        if len(self._cards) > _CARDS:
            del self._cards[next(iter(self._cards))]

    @property
    def card(self) -> Card | None:
        """The card of the deployed version, else the newest seen."""
        deployed = self._cards.get(self.deployment.digest) if self.deployment is not None else None
        return deployed or self._newest
