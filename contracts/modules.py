"""What processes say of themselves: announcements of workers, health of everything.

A *module instance* is a worker. Its id is `<node>_<random>`, so the node can be read off it.
"""

from __future__ import annotations

import secrets
from typing import Any, Literal

from msgspec import Struct, field

from contracts.evidence import Evidence
from contracts.functions import Limits, Need

WorkerEvent = Literal["started", "ready", "draining", "stopped", "failed"]
State = Literal["starting", "up", "suspect", "draining", "down"]
Kind = Literal["worker", "runtime", "anchor", "gateway", "authority"]

HEARTBEAT_S = 1.0
SUSPECT_AFTER_S = 2.5
DOWN_AFTER_S = 5.0

HEADER_PROBE = "Mmn-Probe"
"""Header of a call that asks only whether the work endpoint answers: body empty, no job."""


def new_instance(node: str) -> str:
    """A fresh instance id for a worker on this node: one subject token."""
    return f"{node}_{secrets.token_hex(6)}"


def node_of(instance: str) -> str:
    """The node that an instance id names."""
    return instance.partition("_")[0]


class Card(Struct, frozen=True, kw_only=True):
    """What a ready worker is and can do: enough to route to it and to draw a form for it.

    Schemas are JSON Schema 2020-12. `box` is the isolation level, `egress` says whether
    the node enforces where packets may go, `gaps` what is open to the worker for want of more.
    """

    function: str
    version: str
    digest: str
    summary: str
    limits: Limits
    needs: list[Need]
    params_schema: dict[str, Any]
    result_schema: dict[str, Any]
    box: str
    egress: Literal["enforced", "advisory"] = "advisory"
    gaps: list[str] = field(default_factory=list)


class Announcement(Struct, frozen=True, kw_only=True):
    """A runtime tells what became of one worker. `card` comes with `ready`.

    `user_key` is the public key that the worker's token was made for: by it the server's own word on
    connections is told apart. With `failed`, `short_lives` counts the lives in a row of its place that ended
    too early, those that are not its version's doing left out; `given_up`: it is not started again.
    """

    node: str
    instance: str
    function: str
    version: str
    digest: str
    event: WorkerEvent
    at: str
    reason: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    card: Card | None = None
    pid: int | None = None
    user_key: str | None = None
    short_lives: int = 0
    given_up: bool = False
    v: Literal[1] = 1


class Routed(Struct, frozen=True, kw_only=True):
    """An instance that an Anchor does not use fully, and why.

    `limit` is what the Anchor learned that it takes at once, `cap` what its bundle declares; `ejected`:
    its `breaker` keeps calls away.
    """

    instance: str
    state: State
    limit: float
    cap: int
    breaker: Literal["closed", "open", "half-open"] = "closed"
    ejected: bool = False
    reason: str = ""


class Trouble(Struct, frozen=True, kw_only=True):
    """Why a node does not run a function as it should. `given_up`: it does not try again by itself."""

    function: str
    version: str
    reason: str
    given_up: bool
    since: str


class Health(Struct, frozen=True, kw_only=True):
    """State of one process, every second. Counters count from the process's start.

    `in_flight`, `queue`, `limit` are jobs; `loop_lag_ns` the largest delay of the event loop
    since the last report; `rss_bytes` resident memory; `dropped` messages lost at its own connection to
    NATS, since they came faster than it took them or could not be sent or read. An Anchor adds in `routing` the instances
    that it does not use fully, in `refused` how many submits it turned down, by reason, in `rollouts`
    what it saw of the rollouts under way; a runtime adds in `troubles`
    what does not run as it should.
    """

    instance: str
    kind: Kind
    state: State
    at: str
    node: str | None = None
    function: str | None = None
    version: str | None = None
    in_flight: int = 0
    queue: int = 0
    limit: int = 0
    done: int = 0
    faults: int = 0
    rejected: int = 0
    breakers: list[str] = field(default_factory=list)
    loop_lag_ns: int | None = None
    rss_bytes: int | None = None
    dropped: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    routing: list[Routed] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    rollouts: list[Evidence] = field(default_factory=list)
    v: Literal[1] = 1


class Log(Struct, frozen=True, kw_only=True):
    """One structured, redacted log line. `fields` holds what the line's `event` speaks of."""

    at: str
    level: str
    instance: str
    event: str
    fields: dict[str, Any] = field(default_factory=dict)
    v: Literal[1] = 1
