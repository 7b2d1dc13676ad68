"""Makes the specification from the Structs and the subjects: nothing here is written twice."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from contracts import audit, jobs, membership, modules, nodes, quotas, results, subjects
from contracts.functions import Deployment, Manifest

MESSAGES: dict[str, type[msgspec.Struct]] = {
    "JobRequest": jobs.JobRequest,
    "JobReceipt": jobs.JobReceipt,
    "Job": jobs.Job,
    "JobEvent": jobs.JobEvent,
    "Call": jobs.Call,
    "CallReply": jobs.CallReply,
    "CancelRequest": jobs.CancelRequest,
    "CancelReply": jobs.CancelReply,
    "Cancelled": jobs.Cancelled,
    "StopReply": jobs.StopReply,
    "Result": results.Result,
    "Progress": results.Progress,
    "Announcement": modules.Announcement,
    "Health": modules.Health,
    "DrainRequest": nodes.DrainRequest,
    "RestartRequest": nodes.RestartRequest,
    "NodeReply": nodes.NodeReply,
    "Log": modules.Log,
    "Tally": quotas.Tally,
    "Invite": membership.Invite,
    "Invitation": membership.Invitation,
    "Join": membership.Join,
    "Membership": membership.Membership,
    "Revoke": membership.Revoke,
    "Members": membership.Members,
    "AuditEntry": audit.AuditEntry,
    "Deployment": Deployment,
    "Manifest": Manifest,
}
"""Everything that crosses the wire or lies in a bucket, by name."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Channel(msgspec.Struct, frozen=True):
    """One subject of the contract: its pattern, who sends what, and the answer if there is one."""

    name: str
    address: str
    message: str
    text: str
    reply: str | None = None
    parameters: tuple[str, ...] = ()


def _shown(pattern: str, *names: str) -> str:
    """A pattern with its wildcards replaced by named parameters."""
    parts = iter(names)
    return ".".join(f"{{{next(parts)}}}" if part == "*" else part for part in pattern.split("."))


CHANNELS: tuple[Channel, ...] = (
    Channel("submit", subjects.SUBMIT, "JobRequest", "Ask for one job; answered once it is durable", "JobReceipt"),
    Channel("cancel", subjects.CANCEL, "CancelRequest", "Ask that a job end now", "CancelReply"),
    Channel("cancelled", subjects.CANCELLED, "Cancelled", "A job was cancelled: Anchors let go of it"),
    Channel(
        "queue",
        _shown(subjects.QUEUES, "class", "function", "place"),
        "Job",
        "Admitted jobs wait here; Anchors only",
        parameters=("class", "function", "place"),
    ),
    Channel("event", _shown(subjects.JOB_EVENTS, "job"), "JobEvent", "A step in a job's life", parameters=("job",)),
    Channel(
        "spent",
        _shown(subjects.SPENT, "anchor"),
        "Tally",
        "What an Anchor spent from the budgets that all share; Anchors only",
        parameters=("anchor",),
    ),
    Channel(
        "call",
        "mmn.fn.{function}.{instance}",
        "Call",
        "A directed call to one worker",
        "CallReply",
        parameters=("function", "instance"),
    ),
    Channel(
        "callCancel",
        "mmn.fn.{function}.{instance}.cancel",
        "Cancelled",
        "Tells a worker to end a job; the call that runs it is then refused with code 410",
        "StopReply",
        parameters=("function", "instance"),
    ),
    Channel(
        "callAny",
        "mmn.fn.{function}",
        "Call",
        "A call to any worker, chosen by NATS; bypasses the network's budgets",
        "CallReply",
        parameters=("function",),
    ),
    Channel(
        "out",
        _shown(subjects.OUTS, "job", "by"),
        "Result",
        "The one result of a job, stored once",
        parameters=("job", "by"),
    ),
    Channel(
        "result",
        _shown(subjects.RESULTS, "job"),
        "Result",
        "The public feed of results; header Nats-Subject names the origin",
        parameters=("job",),
    ),
    Channel(
        "progress",
        _shown(subjects.PROGRESS, "job", "instance"),
        "Progress",
        "Per-packet events of a running job",
        parameters=("job", "instance"),
    ),
    Channel(
        "announce",
        _shown(subjects.ANNOUNCE_ALL, "node"),
        "Announcement",
        "A runtime tells what became of its workers",
        parameters=("node",),
    ),
    Channel(
        "drain",
        "mmn.node.{node}.drain",
        "DrainRequest",
        "A node takes no more work, or takes it again",
        "NodeReply",
        parameters=("node",),
    ),
    Channel(
        "restart",
        "mmn.node.{node}.restart",
        "RestartRequest",
        "A node replaces workers, each by a ready one",
        "NodeReply",
        parameters=("node",),
    ),
    Channel("invite", subjects.authority("invite"), "Invite", "Let a node or a module join", "Invitation"),
    Channel("join", subjects.authority("join"), "Join", "Join with a one-time token", "Membership"),
    Channel("revoke", subjects.authority("revoke"), "Revoke", "Cut off a member or a user", "Members"),
    Channel("announcements", subjects.ANNOUNCEMENTS, "Announcement", "All announcements, republished"),
    Channel(
        "health",
        _shown(subjects.HEALTH, "instance"),
        "Health",
        "State of one process, every second",
        parameters=("instance",),
    ),
    Channel("logs", _shown(subjects.LOGS, "instance"), "Log", "Redacted log lines", parameters=("instance",)),
    Channel(
        "audit",
        _shown(subjects.AUDIT, "gateway", "kind"),
        "AuditEntry",
        "Who did what, or was refused; gateways only",
        parameters=("gateway", "kind"),
    ),
)


def schema(name: str) -> dict[str, Any]:
    """One message as a self-contained JSON Schema (draft 2020-12)."""
    return {"$schema": _DIALECT, "title": name, **msgspec.json.schema(MESSAGES[name])}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document: channels, operations and messages, with all schemas inside."""
    _, components = msgspec.json.schema_components(MESSAGES.values(), ref_template="#/components/schemas/{name}")
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for channel in CHANNELS:
        entry: dict[str, Any] = {
            "address": channel.address,
            "description": channel.text,
            "messages": {channel.message: {"$ref": f"#/components/messages/{channel.message}"}},
        }
        if channel.parameters:
            entry["parameters"] = {name: {"description": f"one token: {name}"} for name in channel.parameters}
        channels[channel.name] = entry
        operation: dict[str, Any] = {"action": "send", "channel": {"$ref": f"#/channels/{channel.name}"}}
        if channel.reply:
            channels[f"{channel.name}Reply"] = {
                "address": None,
                "messages": {channel.reply: {"$ref": f"#/components/messages/{channel.reply}"}},
            }
            operation["reply"] = {
                "address": {"location": "$message.header#/reply", "description": "NATS reply subject"},
                "channel": {"$ref": f"#/channels/{channel.name}Reply"},
            }
        operations[f"send{channel.name[0].upper()}{channel.name[1:]}"] = operation
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "mmn",
            "version": "1.0.0",
            "description": "Contract version 1. Content-Type says JSON (default), MessagePack or CBOR.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {name: {"payload": {"$ref": f"#/components/schemas/{name}"}} for name in MESSAGES},
            "schemas": components,
        },
    }


def files() -> dict[str, str]:
    """Every generated file by name."""
    documents = {f"{name}.schema.json": schema(name) for name in MESSAGES} | {"asyncapi.json": asyncapi()}
    return {name: json.dumps(document, indent=2) + "\n" for name, document in documents.items()}
