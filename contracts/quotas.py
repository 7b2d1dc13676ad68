"""What Anchors tell each other: which budgets they spent from, and how many jobs they have in hand.

Everything is bounded on receipt, though only Anchors may publish it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

BudgetKind = Literal["client", "target"]

MOST_AT_ONCE = 500
"""Entries of each kind in one message; more go into the next."""
_MOST = 1_000_000_000

Jobs = Annotated[float, Meta(ge=0, le=_MOST)]


class Spent(Struct, frozen=True, kw_only=True):
    """One budget: `jobs` spent since this Anchor's last message, `level` what is spent and not refilled yet.

    `key` is a client's name or a target prefix.
    """

    kind: BudgetKind
    key: Annotated[str, Meta(max_length=512)]
    jobs: Jobs
    level: Jobs


class Held(Struct, frozen=True, kw_only=True):
    """How many jobs of one queue this Anchor has in hand."""

    job_class: Annotated[str, Meta(max_length=16)] = field(name="class")
    function: Annotated[str, Meta(max_length=128)]
    place: Annotated[str, Meta(max_length=128)]
    jobs: Annotated[int, Meta(ge=0, le=_MOST)]


class Tally(Struct, frozen=True, kw_only=True):
    """One Anchor's news since its last. `hello` asks the others to tell all levels once.

    `held` names every queue with jobs in hand, or is null when nothing is said about them.
    """

    anchor: str
    hello: bool = False
    spent: Annotated[list[Spent], Meta(max_length=MOST_AT_ONCE)] = field(default_factory=list)
    held: Annotated[list[Held], Meta(max_length=MOST_AT_ONCE)] | None = None
    v: Literal[1] = 1
