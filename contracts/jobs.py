"""Jobs on their way: the request, the receipt, the queued job, the call, the events.

`JobRequest` is what people send; everything else is made by mmn itself.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import uuid_utils
from msgspec import Meta, Struct, field

from contracts.redaction import conceal

JobClass = Literal["live", "batch"]

MAX_REQUEST_BYTES = 256 * 1024
MAX_JOB_BYTES = MAX_REQUEST_BYTES - 16 * 1024
"""A job as it is queued, in any encoding: everything that carries it is read with the limit of a request."""
DEFAULT_DEADLINE_S = 120.0


class JobRequest(Struct, frozen=True, kw_only=True):
    """Ask for one execution of a function.

    `node` pins a node; `match` asks for any node with these labels; neither means anywhere.
    `deadline_s`: seconds from acceptance after which the job is no longer worth running.
    `key`: submitted again with the same key, the same request gives the same job, not another.
    """

    function: str
    params: dict[str, Any] = field(default_factory=dict)
    node: str | None = None
    match: dict[str, str] = field(default_factory=dict)
    job_class: JobClass = field(default="live", name="class")
    deadline_s: Annotated[float, Meta(gt=0, le=86400)] = DEFAULT_DEADLINE_S
    key: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$")] | None = None
    v: Literal[1] = 1


class JobReceipt(Struct, frozen=True, kw_only=True):
    """The job is durable: it will end with exactly one result, whatever happens.

    `place` is a node id or `any`; `queue_depth` counts the jobs that wait at that place, this
    one included; `expected_wait_ns` is None when nothing is known yet; `repeated` says that an
    earlier submit with the same key had made the job.
    """

    job: str
    function: str
    place: str
    accepted: str
    deadline: str
    queue_depth: int
    expected_wait_ns: int | None = None
    repeated: bool = False
    v: int = 1


class Job(Struct, frozen=True, kw_only=True):
    """A durable job as it waits in JOBS. Times are RFC 3339; `client` says who asked.

    A twin runs on one version only, that with `digest`, to be compared with the job that `pair` names.
    """

    id: str
    request: JobRequest
    place: str
    accepted: str
    deadline: str
    client: str = ""
    digest: str | None = None
    pair: str | None = None
    v: int = 1


class Call(Struct, frozen=True, kw_only=True):
    """A directed call to a worker. `time_left_ns` counts from the call's arrival."""

    job: str
    params: dict[str, Any]
    time_left_ns: int
    accepted: str | None = None
    attempt: int = 1
    seed: int = 0
    v: Literal[1] = 1


class CallReply(Struct, frozen=True, kw_only=True):
    """A worker's answer once the result is stored. `sequence` is None when it was there before."""

    job: str
    instance: str
    failure: str | None = None
    sequence: int | None = None
    v: Literal[1] = 1


HEADER_QUEUE_NS = "Mmn-Queue-Ns"
"""Header of a call's answer: how long the call waited in the worker, the limiter's only input."""
HEADER_RUN_NS = "Mmn-Run-Ns"
"""Header of a call's answer: how long the function ran."""
HEADER_RETRY_AFTER = "Retry-After"
"""Header of a 429 or 503: seconds to wait."""
HEADER_REASON = "Mmn-Reason"
"""Header of an error answer: a stable word for programs, beside the sentence for people."""
HEADER_FIELD = "Mmn-Field"
"""Header of a 400: the path of the field that breaks a rule."""

HEADER_CLIENT = "Mmn-Client"
"""Header of a submission: on whose behalf it is made; the Anchor counts and records by it."""
MAX_CLIENT = 128
"""Characters of that header that are kept."""


class CancelRequest(Struct, frozen=True, kw_only=True):
    """Ask that a job end now, whether it waits or runs. `reason` is kept with the job, for people."""

    job: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    reason: Annotated[str, Meta(max_length=200)] = ""
    v: Literal[1] = 1


class CancelReply(Struct, frozen=True, kw_only=True):
    """How the job stands.

    `cancelled`: its one result says so, by this request or (`repeated`) by an earlier one. `ended`: it had
    another result before, with this `failure` or None for a plain success, and keeps it.
    """

    job: str
    state: Literal["cancelled", "ended"]
    failure: str | None = None
    repeated: bool = False
    v: int = 1


class Cancelled(Struct, frozen=True, kw_only=True):
    """A job's result says that it was cancelled: whoever has it in hand ends it and stores nothing more."""

    job: str
    v: int = 1


class StopReply(Struct, frozen=True, kw_only=True):
    """A worker's answer to `Cancelled`. `found`: the job ran there; its call ends with code 410."""

    job: str
    instance: str
    found: bool
    v: int = 1


CANCELLED_CODE = 410
"""Code of a call's refusal when its job was cancelled: no fault of anybody, and no reason to try again."""

EventKind = Literal["accepted", "dispatched", "rerouted", "retried", "finished", "expired", "cancelled"]


class JobEvent(Struct, frozen=True, kw_only=True):
    """A step in a job's life. `accepted` carries the whole job, so the log alone tells everything.

    `sequence`, also of `accepted`, is that of the job's message in stream JOBS.
    """

    job: str
    event: EventKind
    at: str
    by: str
    function: str
    reason: str = ""
    instance: str | None = None
    attempt: int = 0
    accepted: Job | None = None
    sequence: int | None = None
    v: int = 1


def shown(request: JobRequest) -> JobRequest:
    """A request as it is written down for all who may read: without the credentials in its parameters."""
    return msgspec.structs.replace(request, params=conceal(request.params))


_KEYS = uuid_utils.UUID("6a1e2f0c-5d0b-4c5e-9a55-6d6d6e6b6579")


def job_id_of(client: str, key: str) -> str:
    """The id of the one job that a client's key stands for: a UUIDv5, so every Anchor finds the same."""
    return str(uuid_utils.uuid5(_KEYS, f"{client}\n{key}"))


_TWINS = uuid_utils.UUID("d0f2a9de-3f0f-4c3b-8a52-9a5e0f6f2c11")


def twin_id_of(job: str, digest: str) -> str:
    """The id of the one twin that a job has on a version: a UUIDv5."""
    return str(uuid_utils.uuid5(_TWINS, f"{job}\n{digest}"))


def new_job_id() -> str:
    """A fresh UUIDv7: unique, and sorts by time of acceptance (RFC 9562)."""
    return str(uuid_utils.uuid7())
