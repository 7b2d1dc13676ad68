"""One job's stream of echo requests: sent on schedule (RFC 3432), followed until decided or out of time."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, field
from typing import Any

from latency_ping import wire
from latency_ping.sockets import Arrival, Exchange, Probe
from runtime.sdk import CannotMeasure, Code, Context, Failure, Report, failed, monotonic_ns, rfc3339

_MARGIN_NS = 100_000_000
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
_FORBIDDEN = {errno.EPERM, errno.EACCES}
_OVERFLOW = {errno.ENOBUFS, errno.EAGAIN}


class PacketError(Report, frozen=True, rename={"source": "from"}):
    """The ICMP error that answered a packet, and the address that sent it."""

    type: int
    code: int
    source: str


class Packet(Report, frozen=True):
    """One echo request. `rtt_ns` is None if it counts as lost or undecided, or could not be sent.

    `sent_at` is the node's wall time, None if the node itself could not send it. `ttl` and `size`
    (bytes of ICMP payload) are the reply's. `late`: a reply came after the waiting time.
    `answered_by` is set only if another address answered than was asked.
    """

    seq: int
    sent_at: str | None
    rtt_ns: int | None = None
    ttl: int | None = None
    size: int | None = None
    duplicate: bool = False
    late: bool = False
    answered_by: str | None = None
    error: PacketError | None = None


@dataclass(slots=True, eq=False)
class Record:
    """What is known of one packet so far."""

    index: int
    probe: Probe | None = None
    timer: asyncio.TimerHandle | None = None
    arrival: Arrival | None = None
    late: bool = False
    copies: int = 0
    error: PacketError | None = None

    @property
    def in_time(self) -> Arrival | None:
        """The reply, unless it came after the waiting time."""
        return None if self.late else self.arrival

    def packet(self, address: str) -> Packet:
        """What the report says about this packet."""
        reply = self.arrival
        foreign = reply is not None and reply.source.partition("%")[0] != address.partition("%")[0]
        return Packet(
            seq=self.index,
            sent_at=None if self.probe is None else rfc3339(self.probe.kernel_ns or self.probe.wall_ns),
            rtt_ns=None if self.in_time is None else self.in_time.rtt_ns,
            ttl=None if reply is None else reply.ttl,
            size=None if reply is None else reply.size,
            duplicate=self.copies > 1,
            late=self.late,
            answered_by=reply.source if reply is not None and foreign else None,
            error=self.error,
        )


@dataclass(slots=True, eq=False)
class Stream:
    """Sends `count` packets every `interval_ns`, and waits `timeout_ns` for each.

    After `run`: `records` in order of sending, `arrivals` (their indices in order of arrival),
    `slip_ns` (largest lateness of a send), `undecided` (indices of packets whose waiting time the job's deadline
    cut short), `truncated` (not all packets were sent, or some are undecided),
    `overflows` (packets this node could not send) and `failure` (why sending stopped).
    """

    ctx: Context
    exchange: Exchange
    sockaddr: tuple[Any, ...]
    count: int
    interval_ns: int
    timeout_ns: int
    size: int
    ttl: int
    records: list[Record] = field(default_factory=list)
    arrivals: list[int] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)
    slip_ns: int = 0
    overflows: int = 0
    truncated: bool = False
    failure: Failure | None = None
    _waiting: set[int] = field(default_factory=set)
    _decided: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Measure. Ends a little before the job's deadline at the latest."""
        started = monotonic_ns()
        last_moment = self.ctx.deadline_ns - _MARGIN_NS
        try:
            for index in range(self.count):
                due = started + index * self.interval_ns
                # The first packet is always sent: a job with hardly any time still says something.
                if index and due >= last_moment:
                    self.truncated = True
                    break
                await asyncio.sleep(max(0, due - monotonic_ns()) / 1e9)
                self._send(index, due)
                if self.failure is not None:
                    break
            await self._settle(last_moment)
        finally:
            for record in self.records:
                if record.timer is not None:
                    record.timer.cancel()
                if record.probe is not None:
                    self.exchange.forget(record.probe)

    def replied(self, probe: Probe, arrival: Arrival) -> None:
        record = self.records[probe.index]
        record.copies += 1
        if record.copies > 1:
            self.ctx.progress({"kind": "duplicate", "seq": record.index, "rtt_ns": arrival.rtt_ns})
            return
        record.arrival = arrival
        # Judged by the stamps, not by when this process got round to reading the reply.
        record.late = arrival.rtt_ns > self.timeout_ns
        if not record.late:
            self.arrivals.append(record.index)
        kind = "late" if record.late else "reply"
        self.ctx.progress({"kind": kind, "seq": record.index, "rtt_ns": arrival.rtt_ns, "ttl": arrival.ttl})
        self._decide(record)

    def refused(self, probe: Probe, error: wire.EchoError, source: str) -> None:
        record = self.records[probe.index]
        if record.error is None:
            record.error = PacketError(type=error.type, code=error.code, source=source)
            event = {"kind": "error", "seq": record.index, "type": error.type, "code": error.code, "from": source}
            self.ctx.progress(event)
            self._decide(record)

    def _send(self, index: int, due: int) -> None:
        record = Record(index)
        self.records.append(record)
        try:
            probe = self.exchange.send(self, index, self.sockaddr, size=self.size, ttl=self.ttl)
        except OSError as error:
            if error.errno in _OVERFLOW:
                self.overflows += 1
            else:
                self.failure = _unsendable(error)
            return
        record.probe = probe
        self.slip_ns = max(self.slip_ns, probe.monotonic_ns - due)
        self._waiting.add(index)
        loop = asyncio.get_running_loop()
        record.timer = loop.call_later(self.timeout_ns / 1e9, self._expire, record)
        self.ctx.progress({"kind": "sent", "seq": index, "at": rfc3339(probe.wall_ns)})
        # Saves a wake-up of the loop for the stamp alone.
        self.exchange.read_notices()

    def _expire(self, record: Record) -> None:
        # The reply may lie in the socket while this process was busy elsewhere.
        self.exchange.read()
        if record.index in self._waiting:
            self.ctx.progress({"kind": "timeout", "seq": record.index})
            self._decide(record)

    def _decide(self, record: Record) -> None:
        if record.timer is not None:
            record.timer.cancel()
        self._waiting.discard(record.index)
        if not self._waiting:
            self._decided.set()

    async def _settle(self, last_moment: int) -> None:
        self._decided.clear()
        if self._waiting:
            try:
                async with asyncio.timeout(max(0, last_moment - monotonic_ns()) / 1e9):
                    await self._decided.wait()
            except TimeoutError:
                self.exchange.read()
        self.undecided = sorted(self._waiting)
        self.truncated = self.truncated or bool(self.undecided)


def _unsendable(error: OSError) -> Failure:
    """Classify why the kernel refused to send."""
    reason = (error.strerror or "unknown error").lower()
    if error.errno in _UNREACHABLE:
        return failed(Code.UNREACHABLE, f"this node has no way to the target: {reason}", stage="send")
    if error.errno in _FORBIDDEN:
        return failed(Code.TARGET_DENIED, f"this node may not send to the target: {reason}", stage="send")
    if error.errno == errno.EMSGSIZE:
        return failed(Code.TOO_LARGE, "the packet is larger than the path allows", stage="send")
    raise CannotMeasure(f"the node cannot send: {reason}") from error
