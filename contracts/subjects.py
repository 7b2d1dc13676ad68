"""Every NATS subject of contract version 1, and nothing else builds one.

Functions come in pairs: one name to publish on, one pattern to subscribe to. Each variable
token is checked, so no caller can widen or inject a subject. Patterns take no argument or
only checked ones; `ANY` stands for the one-token wildcard.
"""

from __future__ import annotations

import re
from typing import Final

from contracts.errors import InvalidField

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
ANY_PLACE: Final = "any"

SUBMIT: Final = "mmn.jobs.submit"
CANCEL: Final = "mmn.jobs.cancel"
CANCELLED: Final = "mmn.jobs.cancelled"
ANNOUNCEMENTS: Final = "mmn.modules.announce"
AUTHORITY: Final = "mmn.authority.*"
CONNECTIONS: Final = "mmn.sys.conn"
SERVICE_VERBS: Final = ("PING", "INFO", "STATS")

INBOX_MANAGE: Final = "_INBOX_m"
INBOX_DEFAULT: Final = "_INBOX"
REPLY_FROM_MANAGE: Final = "_R_."
"""How the server rewrites the reply of a call that crosses from MANAGE to MEASURE."""
_ANSWERED: Final = (f"{INBOX_DEFAULT}.", f"{INBOX_MANAGE}.", REPLY_FROM_MANAGE)


def answered(reply: str) -> bool:
    """Whether a request that wants its answer there may have one.

    Any other subject is one that the responder may use for a purpose of its own, a queue or a bucket, and
    an answer to it would let the asker write there.
    """
    return reply.startswith(_ANSWERED)


def token(value: str, *, at: str = "token") -> str:
    """Return a value that is safe as one subject token, or raise InvalidField."""
    if not _TOKEN.fullmatch(value):
        raise InvalidField(at, "must be 1 to 128 letters, digits, '_' or '-'")
    return value


def queue(job_class: str, function: str, place: str) -> str:
    """Where admitted jobs wait: by class, function and place (a node id or `any`)."""
    return f"mmn.jobs.queue.{token(job_class)}.{token(function)}.{token(place)}"


QUEUES: Final = "mmn.jobs.queue.*.*.*"


def queue_parts(subject: str) -> tuple[str, str, str]:
    """Split a queue subject into class, function and place. Raises ValueError."""
    parts = subject.split(".")
    if len(parts) != 6 or parts[:3] != ["mmn", "jobs", "queue"]:
        raise ValueError(f"not a queue subject: {subject}")
    return parts[3], parts[4], parts[5]


def job_event(job: str) -> str:
    """Where the events of one job are published."""
    return f"mmn.jobs.event.{token(job, at='job')}"


JOB_EVENTS: Final = "mmn.jobs.event.*"


def spent(anchor: str) -> str:
    """Where one Anchor tells the others what it spent from the budgets they share."""
    return f"mmn.jobs.spent.{token(anchor)}"


SPENT: Final = "mmn.jobs.spent.*"


def call(function: str, instance: str) -> str:
    """A directed call: one Anchor to one worker."""
    return f"mmn.fn.{token(function)}.{token(instance)}"


def call_cancel(function: str, instance: str) -> str:
    """Where a worker is told to end a running job."""
    return f"mmn.fn.{token(function)}.{token(instance)}.cancel"


def call_any(function: str) -> str:
    """A call to any worker of a function, chosen by NATS itself (queue group)."""
    return f"mmn.fn.{token(function)}"


CALLS: Final = "mmn.fn.>"


def out(job: str, by: str) -> str:
    """Where the one result of a job is stored; `by` is bound to the storer's JWT."""
    return f"mmn.out.{token(job, at='job')}.{token(by)}"


def out_any(job: str) -> str:
    """Every origin of one job's result: the filter that makes a result unique."""
    return f"mmn.out.{token(job, at='job')}.*"


OUTS: Final = "mmn.out.*.*"
OUTS_EXPORT: Final = "mmn.out.>"


def result(job: str) -> str:
    """The public feed of one job's result, republished from the stream RESULTS."""
    return f"mmn.jobs.result.{token(job, at='job')}"


RESULTS: Final = "mmn.jobs.result.*"
RESULTS_REPUBLISH: Final = "mmn.jobs.result.{{wildcard(1)}}"


def progress(job: str, instance: str) -> str:
    """Per-packet and per-hop events of a running job."""
    return f"mmn.progress.{token(job, at='job')}.{token(instance)}"


PROGRESS: Final = "mmn.progress.*.*"


def progress_of(job: str) -> str:
    """All progress of one job."""
    return f"mmn.progress.{token(job, at='job')}.*"


def announce(node: str) -> str:
    """Where a runtime tells what became of its workers; bound to the node's JWT."""
    return f"mmn.node.{token(node)}.announce"


ANNOUNCE_ALL: Final = "mmn.node.*.announce"


def node_control(node: str, verb: str) -> str:
    """A control endpoint of one node's runtime, such as `drain`."""
    return f"mmn.node.{token(node)}.{token(verb)}"


def health(instance: str) -> str:
    """Where a process reports its state every second."""
    return f"mmn.modules.health.{token(instance)}"


HEALTH: Final = "mmn.modules.health.*"


def logs(instance: str) -> str:
    """Where a process publishes its structured log lines."""
    return f"mmn.logs.{token(instance)}"


LOGS: Final = "mmn.logs.*"


def audit(gateway: str, kind: str) -> str:
    """Where a gateway stores who did what; bound to its JWT. Each kind has a bound of its own."""
    return f"mmn.audit.{token(gateway)}.{token(kind)}"


AUDIT: Final = "mmn.audit.*.*"


def service(verb: str, name: str | None = None, instance: str | None = None) -> str:
    """A discovery subject of ADR-32: for all services, one kind, or one instance."""
    parts = ["$SRV", token(verb)]
    if name is not None:
        parts.append(token(name))
    if instance is not None:
        parts.append(token(instance))
    return ".".join(parts)


def authority(verb: str) -> str:
    """An endpoint of the authority: `invite`, `join`, `revoke` or `list`."""
    return f"mmn.authority.{token(verb)}"


def manage_inbox(identity: str) -> str:
    """Inbox prefix of one identity in account MANAGE."""
    return f"{INBOX_MANAGE}.{token(identity)}"


def worker_inbox(instance: str) -> str:
    """Inbox prefix of one worker in account MEASURE."""
    return f"{INBOX_DEFAULT}_{token(instance)}"
