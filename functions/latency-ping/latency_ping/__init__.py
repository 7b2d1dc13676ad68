"""Round-trip delay, loss and delay variation to one address by ICMP echo.

What is measured: the time from the kernel handing an echo request to the network device to
the kernel taking the reply from it (RFC 2681), and how many requests got no reply within
the waiting time `timeout_ms`, which is part of the metric (RFC 6673).

Clock: kernel packet stamps where the kernel gives them, else the process's monotonic clock;
`stamps` and `kernel_stamped` say which. A delay is a difference on one host, so it needs no
synchronised clock; a step of the wall clock between two kernel stamps is noticed.

Privilege: an ICMP socket, raw or datagram, that the runtime opens and hands down.

Bias: hosts and routers may answer echo slower than they forward, rate-limit it, or drop it:
loss of echo is not loss of traffic. User stamps include the wait for this process to be
scheduled. Periodic packets can resonate with periodic events on the path (RFC 3432).
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from latency_ping import statistics, wire
from latency_ping.sockets import exchange_on
from latency_ping.statistics import RoundTrip
from latency_ping.stream import Packet, PacketError, Record, Stream
from runtime.sdk import (
    Code,
    Context,
    Failure,
    Measured,
    Meta,
    Params,
    Quality,
    Report,
    Resolved,
    Stamps,
    as_target,
    failed,
    guarded,
    icmp,
    resolve,
)

__all__ = ["Packet", "PacketError", "PingParams", "PingReport", "RoundTrip", "measure"]

_REGISTRY = "_Active_IP-ICMP-SendOnRcv_RFC8912sec9_"
_METRICS = [
    *(f"RTDelay{_REGISTRY}Seconds_{statistic}" for statistic in ("Mean", "Min", "Max")),
    f"RTLoss{_REGISTRY}Percent_LossRatio",
]


class PingParams(Params, frozen=True):
    """What to ping, and how."""

    target: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            pattern=r"^[0-9A-Za-z._:%-]+$",
            extra_json_schema=as_target("host"),
            description="host name, IPv4 or IPv6 address; international names in their xn-- form",
        ),
    ]
    count: Annotated[int, Meta(ge=1, le=1000, description="echo requests to send")] = 5
    interval_ms: Annotated[int, Meta(ge=10, le=60_000, description="milliseconds from one request to the next")] = 200
    timeout_ms: Annotated[
        int, Meta(ge=10, le=60_000, description="milliseconds to wait for each reply; later replies count as lost")
    ] = 1000
    size: Annotated[int, Meta(ge=16, le=1472, description="bytes of ICMP payload")] = 56
    family: Annotated[
        Literal["auto", "4", "6"], Meta(description="IP version; auto takes the first address of the name")
    ] = "auto"
    ttl: Annotated[int, Meta(ge=1, le=255, description="time to live, or IPv6 hop limit, of the requests")] = 64

    def __post_init__(self) -> None:
        # Python's `$` also matches before a final newline, JSON Schema's does not.
        if self.target.endswith("\n"):
            raise ValueError("must not end in a newline - at `$.target`")


class PingReport(Report, frozen=True):
    """Counts, statistics and every packet.

    `sent` = `received` + `lost` + `undecided`. Undecided packets were cut off by the job's deadline
    before their waiting time was over, so they are in no ratio. `late` replies are among the lost.
    `loss_ratio` is None if no packet was decided. `corrupted` replies had the right token but
    another payload; they count as received. `kernel_stamped` of the `received` have both
    stamps from the kernel. `resolve_ns` is None if the target was an address.
    """

    sent: int
    received: int
    lost: int
    undecided: int
    loss_ratio: float | None
    late: int
    duplicates: int
    reordered: int
    corrupted: int
    waiting_time_ms: int
    round_trip: RoundTrip | None
    reply_ttls: list[int]
    kernel_stamped: int
    resolve_ns: int | None
    truncated: bool
    packets: list[Packet]


async def measure(params: PingParams, ctx: Context) -> Measured[PingReport]:
    """Resolve the target, ping one address of it, and summarise."""
    resolved = await resolve(ctx, params.target, params.family)
    if isinstance(resolved, Failure):
        return Measured(target=params.target, failure=resolved)
    # What was asked for is part of the name, so that impatient jobs do not lock out patient ones.
    asked = f"{resolved.address} timeout={params.timeout_ms}ms ttl={params.ttl} size={params.size}"
    return await guarded(
        ctx.breaker(asked),
        lambda: _ping(params, ctx, resolved),
        target=params.target,
        address=resolved.address,
    )


async def _ping(params: PingParams, ctx: Context, resolved: Resolved) -> Measured[PingReport]:
    socket = ctx.icmp_socket(resolved.family)
    with exchange_on(socket) as exchange:
        before = icmp.drops(socket.sock)
        stream = Stream(
            ctx,
            exchange,
            resolved.sockaddr,
            count=params.count,
            interval_ns=params.interval_ms * 1_000_000,
            timeout_ns=params.timeout_ms * 1_000_000,
            size=params.size,
            ttl=params.ttl,
        )
        await stream.run()
        after = icmp.drops(socket.sock)
    report = _report(params, resolved, stream)
    return Measured(
        data=report,
        failure=stream.failure or _failure(params, resolved, stream, report),
        target=params.target,
        address=resolved.address,
        stamps=_stamps(stream.records),
        quality=Quality(
            send_slip_ns=stream.slip_ns if report.sent else None,
            drops=None if before is None or after is None else after - before + stream.overflows,
        ),
        metrics=_metrics(params, report),
    )


def _report(params: PingParams, resolved: Resolved, stream: Stream) -> PingReport:
    sent = [record for record in stream.records if record.probe is not None]
    replies = [record.in_time for record in sent if record.in_time is not None]
    undecided = len(stream.undecided)
    decided = len(sent) - undecided
    lost = decided - len(replies)
    return PingReport(
        sent=len(sent),
        received=len(replies),
        lost=lost,
        undecided=undecided,
        loss_ratio=statistics.loss_ratio(decided, lost),
        late=sum(record.late for record in sent),
        duplicates=sum(max(0, record.copies - 1) for record in sent),
        reordered=statistics.reordered(stream.arrivals),
        corrupted=sum(not reply.intact for reply in replies),
        waiting_time_ms=params.timeout_ms,
        round_trip=statistics.round_trip([None if one.in_time is None else one.in_time.rtt_ns for one in sent]),
        reply_ttls=sorted({reply.ttl for reply in replies if reply.ttl is not None}),
        kernel_stamped=sum((reply.tx, reply.rx) == ("kernel", "kernel") for reply in replies),
        resolve_ns=resolved.duration_ns,
        truncated=stream.truncated,
        packets=[record.packet(resolved.address) for record in stream.records],
    )


def _failure(params: PingParams, resolved: Resolved, stream: Stream, report: PingReport) -> Failure | None:
    """Say why no reply came, if none did."""
    if report.received:
        return None
    errors = Counter(record.error for record in stream.records if record.error is not None)
    if errors:
        ((error, _),) = errors.most_common(1)
        words = wire.describe(resolved.family, error.type, error.code)
        return failed(Code.UNREACHABLE, f"{error.source} answered: {words}", stage="reply")
    if report.lost:
        return failed(Code.TIMEOUT, f"no reply within {params.timeout_ms} ms to {report.lost} requests", stage="reply")
    if report.undecided:
        return failed(Code.EXPIRED, "the job's deadline came before the waiting time was over", stage="reply")
    return failed(Code.CANNOT_MEASURE, "this node's send buffer was full all the time", stage="send")


def _stamps(records: list[Record]) -> Stamps | None:
    """Name the worse stamp of each direction; None if nothing came back in time."""
    replies = [record.in_time for record in records if record.in_time is not None]
    if not replies:
        return None
    return Stamps(
        tx="kernel" if all(reply.tx == "kernel" for reply in replies) else "user",
        rx="kernel" if all(reply.rx == "kernel" for reply in replies) else "user",
    )


def _metrics(params: PingParams, report: PingReport) -> list[str]:
    """Name the registered metrics whose sending discipline was kept.

    RFC 8912 section 9 sends on receipt: at the interval, as we do, unless a reply takes longer than it.
    """
    if report.round_trip is None or report.received != report.sent or report.truncated:
        return []
    kept = report.sent == 1 or report.round_trip.max_ns < params.interval_ms * 1_000_000
    return list(_METRICS) if kept else []
