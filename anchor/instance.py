"""One worker as an Anchor sees it: what it takes, what it has, and whether it may be given more."""

from __future__ import annotations

from dataclasses import dataclass, field

from anchor.breakers import Breaker
from anchor.limiter import Limiter
from contracts.modules import Card, State


@dataclass(slots=True, eq=False)
class Instance:
    """A worker as this Anchor sees it. `in_flight` counts this Anchor's own calls only.

    `elsewhere` are calls of others, as far as the worker's reports tell; `gone_ns` is since when its
    connection is gone, or nobody listens for calls (`unheard`); `ejected` says that its breaker keeps
    calls away;
    `worked_ns` is when it last answered a call, `spare_ns` when it last said that a slot is free.
    """

    id: str
    node: str
    card: Card
    labels: dict[str, str]
    seen_ns: int
    limiter: Limiter
    breaker: Breaker = field(default_factory=Breaker)
    state: State = "up"
    reason: str = ""
    user_key: str | None = None
    in_flight: int = 0
    elsewhere: int = 0
    pressed_until_ns: int = 0
    worked_ns: int = 0
    spare_ns: int = 0
    gone_ns: int | None = None
    unheard: bool = False
    ejected: bool = False
    _elsewhere_before: int = 0

    @property
    def function(self) -> str:
        return self.card.function

    @property
    def limit(self) -> float:
        """Calls it takes at once, as learned."""
        return self.limiter.limit

    @property
    def load(self) -> float:
        """How full it is, for comparing instances."""
        return (self.in_flight + self.elsewhere) / self.limiter.limit

    def free(self, now_ns: int) -> int:
        """Calls it may be given now."""
        if self.state != "up" or now_ns < self.pressed_until_ns:
            return 0
        if self.ejected:
            # Half open: one call at a time shows whether it is sound again.
            return int(self.breaker.state == "half-open" and self.in_flight == 0)
        return max(0, int(self.limiter.limit) - self.in_flight)

    def reported(self, *, limit: int, load: int, now_ns: int) -> None:
        """Take over what it says of its load: calls that run or wait in it, whoever made them."""
        if limit > 0:
            self.limiter.set_cap(min(limit, self.card.limits.concurrency))
            if load < limit:
                self.spare_ns = now_ns
        elsewhere = max(0, load - self.in_flight)
        # Reports cross with our own calls; what two of them in a row show is there.
        self.elsewhere = min(elsewhere, self._elsewhere_before)
        self._elsewhere_before = elsewhere
