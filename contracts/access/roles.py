"""Permission lists of every role: the only place that says who may use which subject.

A role becomes the template of a scoped signing key. Anything not listed is denied. In MANAGE a
responder may answer into the inboxes that exist there and nowhere else; only workers, alone
in MEASURE, answer by `responses`, and they refuse calls that did not come through the export.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from contracts import streams, subjects
from contracts.functions import check_node

NAME = "{{name()}}"
"""Filled by the server with the user's name."""
FUNCTION = "{{tag(fn)}}"
"""Filled by the server with the user's tag `fn`."""

LONGEST_JOB_S = 600.0
REPLY_TTL_S = 2 * LONGEST_JOB_S + 60.0
"""A call may wait in the worker for as long as one job runs, before it runs itself."""

FEED_STREAMS = (
    streams.RESULTS,
    streams.EVENTS,
    streams.PROGRESS,
    streams.HEALTH,
    streams.MODULES,
    streams.LOGS,
)


class Responses(Struct, frozen=True):
    """Right to answer a received message `count` times within `ttl_ns`."""

    count: int
    ttl_ns: int


class Role(Struct, frozen=True, kw_only=True):
    """What one kind of identity may publish and subscribe to."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    publish_deny: tuple[str, ...] = ()
    responses: Responses | None = None
    subscriptions: int = -1


def _services(name: str, instance: str) -> list[str]:
    """The nine discovery subjects that a micro service listens on."""
    return [
        subject
        for verb in subjects.SERVICE_VERBS
        for subject in (f"$SRV.{verb}", f"$SRV.{verb}.{name}", f"$SRV.{verb}.{name}.{instance}")
    ]


def _own_reports() -> list[str]:
    return [f"mmn.modules.health.{NAME}", f"mmn.logs.{NAME}"]


def _follow(stream: str) -> list[str]:
    """Read a stream through ephemeral named consumers (`contracts.tail`)."""
    return [
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
        f"$JS.API.CONSUMER.DELETE.{stream}.*",
    ]


def _bucket_read(bucket: str) -> list[str]:
    return [*_follow(f"KV_{bucket}"), f"$JS.API.DIRECT.GET.KV_{bucket}.>"]


def _bucket_write(bucket: str) -> list[str]:
    return [*_bucket_read(bucket), f"$KV.{bucket}.>"]


def _objects_read(bucket: str) -> list[str]:
    stream = f"OBJ_{bucket}"
    return [
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.STREAM.MSG.GET.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        # Without it small objects work and a bundle of 3 MB hangs.
        f"$JS.FC.{stream}.>",
        "$JS.API.STREAM.NAMES",
    ]


def _objects_write(bucket: str) -> list[str]:
    return [
        *_objects_read(bucket),
        f"$O.{bucket}.C.>",
        f"$O.{bucket}.M.>",
        f"$JS.API.STREAM.PURGE.OBJ_{bucket}",
    ]


_ANSWERS = (f"{subjects.INBOX_DEFAULT}.>", f"{subjects.INBOX_MANAGE}.>")
"""Where a responder in MANAGE may answer: the inboxes of MANAGE, never a stream or an API."""


def _role(
    name: str,
    publish: Iterable[str],
    subscribe: Iterable[str],
    *,
    publish_deny: tuple[str, ...] = (),
    responses: Responses | None = None,
    subscriptions: int = -1,
) -> Role:
    return Role(
        name=name,
        publish=tuple(dict.fromkeys(publish)),
        subscribe=tuple(dict.fromkeys(subscribe)),
        publish_deny=publish_deny,
        responses=responses,
        subscriptions=subscriptions,
    )


def worker(node: str) -> Role:
    """A worker of one node, in MEASURE. The node is literal, so a node's key makes no other's workers."""
    instance = f"{check_node(node)}_{NAME}"
    return _role(
        f"worker-{node}",
        [
            f"mmn.out.*.{instance}",
            f"mmn.progress.*.{instance}",
            f"mmn.modules.health.{instance}",
            f"mmn.logs.{instance}",
        ],
        [
            f"mmn.fn.{FUNCTION}",
            f"mmn.fn.{FUNCTION}.{instance}",
            f"mmn.fn.{FUNCTION}.{instance}.cancel",
            *_services(FUNCTION, instance),
            f"{subjects.INBOX_DEFAULT}_{instance}.>",
        ],
        responses=Responses(1, int(REPLY_TTL_S * 1e9)),
        subscriptions=64,
    )


RUNTIME = _role(
    "runtime",
    [
        f"mmn.node.{NAME}.announce",
        *_own_reports(),
        *_bucket_read(streams.BUCKET_FUNCTIONS),
        *_objects_read(streams.OBJECTS_BUNDLES),
        *_ANSWERS,
    ],
    [f"mmn.node.{NAME}.>", *_services("runtime", NAME), f"{subjects.INBOX_MANAGE}.{NAME}.>"],
)

ANCHOR = _role(
    "anchor",
    [
        "$SRV.>",
        subjects.CALLS,
        "mmn.node.*.>",
        subjects.QUEUES,
        subjects.JOB_EVENTS,
        subjects.CANCELLED,
        f"mmn.jobs.spent.{NAME}",
        f"mmn.out.*.{NAME}",
        *_own_reports(),
        *_follow(streams.JOBS),
        f"$JS.API.STREAM.MSG.GET.{streams.JOBS}",
        f"$JS.API.STREAM.MSG.DELETE.{streams.JOBS}",
        f"$JS.ACK.{streams.JOBS}.>",
        f"$JS.API.STREAM.MSG.GET.{streams.RESULTS}",
        f"$JS.API.DIRECT.GET.{streams.RESULTS}",
        f"$JS.API.DIRECT.GET.{streams.RESULTS}.>",
        f"$JS.API.STREAM.MSG.GET.{streams.EVENTS}",
        *_bucket_write(streams.BUCKET_FUNCTIONS),
        *_bucket_write(streams.BUCKET_PLANS),
        *_ANSWERS,
    ],
    [
        subjects.SUBMIT,
        subjects.CANCEL,
        subjects.CANCELLED,
        subjects.SPENT,
        subjects.ANNOUNCEMENTS,
        subjects.HEALTH,
        f"{subjects.CONNECTIONS}.>",
        *_services("anchor", NAME),
        f"{subjects.INBOX_MANAGE}.{NAME}.>",
    ],
    publish_deny=(subjects.ANNOUNCE_ALL,),
)

GATEWAY = _role(
    "gateway",
    [
        "$SRV.>",
        subjects.SUBMIT,
        subjects.CANCEL,
        "mmn.node.*.>",
        subjects.AUTHORITY,
        *_own_reports(),
        f"mmn.audit.{NAME}.*",
        *_follow(streams.AUDIT),
        *(subject for bucket in streams.BUCKETS for subject in _bucket_write(bucket)),
        *_objects_write(streams.OBJECTS_BUNDLES),
        *(subject for stream in FEED_STREAMS for subject in _follow(stream)),
        *(f"$JS.API.STREAM.MSG.GET.{stream}" for stream in FEED_STREAMS),
        *(f"$JS.API.DIRECT.GET.{stream}.>" for stream in FEED_STREAMS),
        *_ANSWERS,
    ],
    [
        subjects.RESULTS,
        subjects.JOB_EVENTS,
        *_services("gateway", NAME),
        f"{subjects.INBOX_MANAGE}.{NAME}.>",
    ],
    publish_deny=(subjects.ANNOUNCE_ALL,),
)

AUTHORITY = _role(
    "authority",
    [*_own_reports(), *_ANSWERS],
    [subjects.AUTHORITY, *_services("authority", NAME), f"{subjects.INBOX_MANAGE}.{NAME}.>"],
)

OPERATOR = _role(
    "operator",
    [subjects.SUBMIT, subjects.CANCEL, "$SRV.>"],
    [subjects.RESULTS, subjects.JOB_EVENTS, "mmn.modules.>", f"{subjects.INBOX_DEFAULT}.>"],
)

ADMIN = _role(
    "admin",
    # Calls go past every budget, and a caller chooses where in MANAGE the answer is written.
    [*OPERATOR.publish, subjects.CALLS],
    OPERATOR.subscribe,
)

PROVISIONER = _role(
    "provisioner",
    ["$JS.API.>"],
    [f"{subjects.INBOX_MANAGE}.{NAME}.>"],
)

MANAGE_ROLES: tuple[Role, ...] = (RUNTIME, ANCHOR, GATEWAY, AUTHORITY, OPERATOR, ADMIN, PROVISIONER)

PEOPLE: tuple[Role, ...] = (OPERATOR, ADMIN)
"""Roles for the `nats` command line: answers come to its default inbox."""
