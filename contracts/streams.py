"""Every stream and bucket as data. The provisioner makes them; no service may.

LOGS, PROGRESS, HEALTH and MODULES never ack: an ack would go to whatever reply subject an
untrusted publisher chooses, past its permissions. RESULTS does ack, since a worker must know
that its result is stored, and it is reached only through a service import whose reply the
server rewrites.
"""

from __future__ import annotations

from typing import Final

from nats.js import api

from contracts import subjects

JOBS: Final = "JOBS"
RESULTS: Final = "RESULTS"
EVENTS: Final = "EVENTS"
PROGRESS: Final = "PROGRESS"
MODULES: Final = "MODULES"
HEALTH: Final = "HEALTH"
LOGS: Final = "LOGS"
AUDIT: Final = "AUDIT"

BUCKET_FUNCTIONS: Final = "functions"
BUCKET_PLANS: Final = "plans"
BUCKET_USERS: Final = "users"
BUCKET_SETTINGS: Final = "settings"
BUCKET_SESSIONS: Final = "sessions"
BUCKETS: Final = (BUCKET_FUNCTIONS, BUCKET_PLANS, BUCKET_USERS, BUCKET_SETTINGS, BUCKET_SESSIONS)
OBJECTS_BUNDLES: Final = "bundles"

SESSION_DAYS: Final = 30
"""No login lasts longer, however often it is renewed."""
QUEUE_BOUND: Final = 1000
"""Jobs that may wait per class, function and place; one more is refused with 429."""
AUDIT_BOUND: Final = 50_000
"""Entries kept per gateway and kind, so that a flood of one kind pushes out nothing of another."""
ERROR_SUBJECT_FULL: Final = 10077
"""JetStream's error code for a message refused by the bound of its subject."""
ERROR_NO_MESSAGE: Final = 10037
"""JetStream's error code for 'there is no such message'."""
ERROR_WRONG_LAST_SEQUENCE: Final = 10071
"""JetStream's error code for 'somebody stored this job's result first'."""

_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_MIB = 1024 * 1024


def _log(name: str, pattern: str, *, age: float, size: int, no_ack: bool = False) -> api.StreamConfig:
    return api.StreamConfig(
        name=name,
        subjects=[pattern],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=age,
        max_bytes=size,
        no_ack=no_ack,
        allow_direct=True,
    )


def all_streams(*, queue_bound: int = QUEUE_BOUND, replicas: int = 1) -> list[api.StreamConfig]:
    """The configuration of every stream. `replicas` is 3 in a cluster."""
    jobs = api.StreamConfig(
        name=JOBS,
        subjects=[subjects.QUEUES],
        retention=api.RetentionPolicy.WORK_QUEUE,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        discard_new_per_subject=True,
        max_msgs_per_subject=queue_bound,
        max_bytes=1024 * _MIB,
    )
    results = _log(RESULTS, subjects.OUTS, age=30 * _DAY, size=4096 * _MIB)
    results.republish = api.RePublish(src=subjects.OUTS, dest=subjects.RESULTS_REPUBLISH)
    modules = _log(MODULES, subjects.ANNOUNCE_ALL, age=7 * _DAY, size=64 * _MIB, no_ack=True)
    modules.republish = api.RePublish(src=subjects.ANNOUNCE_ALL, dest=subjects.ANNOUNCEMENTS)
    health = _log(HEALTH, subjects.HEALTH, age=_HOUR, size=64 * _MIB, no_ack=True)
    health.max_msgs_per_subject = 1
    audit = _log(AUDIT, subjects.AUDIT, age=90 * _DAY, size=1024 * _MIB)
    audit.max_msgs_per_subject = AUDIT_BOUND
    # Not even an administrator's tool takes out what somebody did.
    audit.deny_delete = audit.deny_purge = True
    configs = [
        jobs,
        results,
        _log(EVENTS, subjects.JOB_EVENTS, age=7 * _DAY, size=1024 * _MIB),
        _log(PROGRESS, subjects.PROGRESS, age=10 * _MINUTE, size=256 * _MIB, no_ack=True),
        modules,
        health,
        _log(LOGS, subjects.LOGS, age=_DAY, size=128 * _MIB, no_ack=True),
        audit,
    ]
    for config in configs:
        config.num_replicas = replicas
    return configs


def all_buckets(*, replicas: int = 1) -> list[api.KeyValueConfig]:
    """The configuration of every key-value bucket. `direct` lets one key be read by permission."""
    return [
        # A login that nobody has used for so long is over anyway; what its secrets were is of no use to anybody.
        api.KeyValueConfig(
            bucket=bucket,
            history=1 if bucket == BUCKET_SESSIONS else 16,
            ttl=SESSION_DAYS * _DAY if bucket == BUCKET_SESSIONS else None,
            direct=True,
            replicas=replicas,
            max_value_size=_MIB,
        )
        for bucket in BUCKETS
    ]


def bundle_store(*, replicas: int = 1) -> api.ObjectStoreConfig:
    """The object bucket that holds wheels under their SHA-256."""
    return api.ObjectStoreConfig(bucket=OBJECTS_BUNDLES, replicas=replicas, max_bytes=4096 * _MIB)
