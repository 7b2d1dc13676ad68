"""What a job returned, with everything needed to judge and repeat it.

Durations are integers in nanoseconds whose names end in `_ns`, ratios lie in 0..1,
absolute times are RFC 3339 text, and unknown is None, never 0.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from contracts.clock import ClockQuality
from contracts.failure import Failure

Stamp = Literal["kernel", "user"]


class Stamps(Struct, frozen=True, kw_only=True):
    """Where packet timestamps were taken, per direction. None: the function takes none."""

    tx: Stamp | None = None
    rx: Stamp | None = None


class Quality(Struct, frozen=True, kw_only=True):
    """How well the node itself behaved while it measured.

    `send_slip_ns`: largest lateness of a send against its schedule; `drops`: packets the
    socket lost on this node; `loop_lag_ns`: largest delay of the event loop during the job.
    """

    send_slip_ns: int | None = None
    drops: int | None = None
    loop_lag_ns: int | None = None


class Provenance(Struct, frozen=True, kw_only=True):
    """Where the code that measured came from: its SHA-256, the author whose signature the node verified, who
    uploaded it, and when (RFC 3339).
    """

    digest: str
    author: str
    uploader: str
    uploaded: str


class Result(Struct, frozen=True, kw_only=True):
    """The one result of a job.

    `params` are those applied, defaults filled in. `data` is the function's own report, with
    the shape of its result schema, or None when `failure` left nothing to report. `by` is the
    instance that stored it: the worker, or an Anchor that closed a job nobody could run. `provenance` is None
    where no bundle ran. The worker writes all of it: code that lies about what it measured can lie here, too, and
    only `by` is bound to its identity.
    """

    job: str
    function: str
    by: str
    started: str
    duration_ns: int | None
    v: Literal[1] = 1
    version: str | None = None
    digest: str | None = None
    node: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    plan: str | None = None
    run: int | None = None
    scheduled: str | None = None
    accepted: str | None = None
    attempt: int = 1
    target: str | None = None
    address: str | None = None
    clock: ClockQuality | None = None
    stamps: Stamps | None = None
    quality: Quality | None = None
    failure: Failure | None = None
    data: dict[str, Any] | None = None
    metrics: list[str] = field(default_factory=list)
    """Names after the IANA performance metrics registry (RFC 8911, RFC 8912), where one fits."""
    provenance: Provenance | None = None


class Progress(Struct, frozen=True, kw_only=True):
    """One event while a job runs: a packet sent, a reply, a hop. `n` counts from 0 per call."""

    job: str
    instance: str
    function: str
    n: int
    at: str
    event: dict[str, Any]
    v: Literal[1] = 1
