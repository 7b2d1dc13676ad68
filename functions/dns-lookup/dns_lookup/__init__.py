"""One DNS question to one name server over UDP, TCP or TLS: the answer, and how long it took.

What is measured: the time from sending the query to having the answer (`query_ns`); over TCP and TLS
apart from the time to connect and to shake hands. What the server says is data, whatever it says.

Clock: the process's monotonic clock; the arrival of an answer over UDP is stamped by the kernel
where it can, and `stamps` says so. No synchronised clock is needed.

Privilege: none, only UDP and TCP.

Bias: a resolver that has the answer in its cache answers faster than one that must ask others, so the
first question is not like the second. A server may answer differently by client and place (anycast).
User stamps include the wait for this process to be scheduled.
"""

from __future__ import annotations

import base64

from dns_lookup.answer import Counts, Edns, ExtendedError, Nsid, Record, failure_of
from dns_lookup.lookup import Lookup
from dns_lookup.question import LookupParams, asked_name
from dns_lookup.servers import find_servers
from dns_lookup.transports import Trial
from runtime.sdk import Code, Context, Failure, Measured, Report, Resolved, Stamps, guarded

__all__ = ["Attempt", "LookupParams", "LookupReport", "measure"]

_SILENCE = {Code.NAME_TIMEOUT, Code.TIMEOUT, Code.UNREACHABLE, Code.REFUSED, Code.RESET}


class Attempt(Report, frozen=True):
    """One query that was sent, or could not be.

    `outcome` is `answer`, `truncated` (TC over UDP) or the code of a failure. `duration_ns` is the whole attempt;
    steps that did not come or not end are None. `ignored` counts datagrams with another id.
    """

    transport: str
    server: str
    outcome: str
    duration_ns: int
    connect_ns: int | None
    handshake_ns: int | None
    query_ns: int | None
    ignored: int


class LookupReport(Report, frozen=True, rename={"class_": "class"}):
    """The question, the answer and its timing, and every attempt.

    `server`, `transport`, the durations and `tls_version` are those of the attempt that gave the answer, else of
    the last. Everything from `rcode` to `message` is None or empty if no server answered; an answer with another
    id is none, so `id_match` is never false. `truncated`: the server set TC and there was no better answer.
    `retried_over_tcp`: an answer over UDP was truncated. `records_cut`: more records came than are listed.
    `resolve_ns` is None unless `server` was given as a name. `message` is the answer in base64, if asked for.
    """

    name: str
    type: str
    class_: str
    server: str
    port: int
    transport: str
    resolve_ns: int | None
    connect_ns: int | None
    handshake_ns: int | None
    query_ns: int | None
    tls_version: str | None
    retried_over_tcp: bool
    rcode: int | None
    rcode_name: str | None
    flags: list[str]
    id_match: bool | None
    counts: Counts | None
    answers: list[Record]
    authority: list[Record]
    additional: list[Record]
    records_cut: bool
    truncated: bool
    message_bytes: int | None
    edns: Edns | None
    extended_errors: list[ExtendedError]
    nsid: Nsid | None
    message: str | None
    attempts: list[Attempt]


async def measure(params: LookupParams, ctx: Context) -> Measured[LookupReport]:
    """Find the server, ask it, and report what it said."""
    servers = await find_servers(params, ctx)
    if isinstance(servers, Failure):
        return Measured(target=params.server, failure=servers)
    # What was asked for is part of the name, so that impatient jobs do not lock out patient ones.
    where = ",".join(server.address for server in servers)
    asked = f"{where} port={params.effective_port()}/{params.transport} timeout={params.timeout_ms}ms"
    return await guarded(
        ctx.breaker(asked),
        lambda: _lookup(params, ctx, servers),
        target=params.server,
        address=servers[0].address,
        # Here the name server is the target: its silence counts, its "no such name" does not.
        counts=lambda failure: failure.code in _SILENCE,
    )


async def _lookup(params: LookupParams, ctx: Context, servers: list[Resolved]) -> Measured[LookupReport]:
    lookup = Lookup(params, ctx, servers)
    await lookup.run()
    last = lookup.trials[-1]
    shown = lookup.decisive or last
    answered = None if lookup.answer is None else failure_of(lookup.answer)
    return Measured(
        data=_report(params, servers[0].duration_ns, lookup, shown),
        failure=last.failure or answered,
        target=params.server,
        address=shown.server,
        stamps=None if shown.wire is None else Stamps(tx="user", rx=shown.receive_stamp),
    )


def _report(params: LookupParams, resolve_ns: int | None, lookup: Lookup, shown: Trial) -> LookupReport:
    answer = lookup.answer
    wire = shown.wire if answer is not None else None
    return LookupReport(
        name=asked_name(params).to_text(),
        type=params.type,
        class_=params.class_,
        server=shown.server,
        port=params.effective_port(),
        transport=shown.transport,
        resolve_ns=resolve_ns,
        connect_ns=shown.connect_ns,
        handshake_ns=shown.handshake_ns,
        query_ns=shown.query_ns,
        tls_version=shown.tls_version,
        retried_over_tcp=lookup.fell_back,
        rcode=None if answer is None else answer.rcode,
        rcode_name=None if answer is None else answer.rcode_name,
        flags=[] if answer is None else answer.flags,
        id_match=None if answer is None else True,
        counts=None if answer is None else answer.counts,
        answers=[] if answer is None else answer.answers,
        authority=[] if answer is None else answer.authority,
        additional=[] if answer is None else answer.additional,
        records_cut=answer is not None and answer.records_cut,
        truncated=answer is not None and answer.truncated,
        message_bytes=None if wire is None else len(wire),
        edns=None if answer is None else answer.edns,
        extended_errors=[] if answer is None else answer.extended_errors,
        nsid=None if answer is None else answer.nsid,
        message=base64.b64encode(wire).decode() if wire is not None and params.keep_message else None,
        attempts=[_attempt(trial) for trial in lookup.trials],
    )


def _attempt(trial: Trial) -> Attempt:
    outcome = "truncated" if trial.truncated else "answer"
    return Attempt(
        transport=trial.transport,
        server=trial.server,
        outcome=outcome if trial.failure is None else trial.failure.code.value,
        duration_ns=trial.duration_ns,
        connect_ns=trial.connect_ns,
        handshake_ns=trial.handshake_ns,
        query_ns=trial.query_ns,
        ignored=trial.ignored,
    )
