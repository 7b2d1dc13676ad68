"""Echo requests over one shared socket: kernel stamps, and each reply to the job that asked.

All jobs of a worker share one socket per address family. Requests are told apart by the
16-bit sequence number, and replies are believed only if they return a 64-bit random token.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from icmplib import ICMPv4Socket, ICMPv6Socket

from latency_ping import filters, wire
from runtime.sdk import CannotMeasure, IcmpSocket, Stamp, kernelstamps, monotonic_ns, wall_ns

_TOKEN_BYTES = 8
_FILLER = bytes(range(256)) * 6
_IP_RECVTTL = 12
_IP_RECVERR = 11
_IPV6_RECVERR = 25


class _HandedDown:
    """Mixed into icmplib's sockets: use a socket that the runtime opened and goes on owning."""

    def __init__(self, icmp: IcmpSocket) -> None:
        self._handed_down = icmp.sock
        super().__init__(privileged=icmp.kind == "raw")  # type: ignore[call-arg]  # icmplib's constructor

    def _create_socket(self, _type: int) -> socket.socket:
        return self._handed_down

    def close(self) -> None:
        self._sock = None

    def build(self, ident: int, sequence: int, payload: bytes) -> bytes:
        packet: bytes = self._create_packet(ident, sequence, payload)  # type: ignore[attr-defined]  # icmplib's
        return packet


class _Echo4(_HandedDown, ICMPv4Socket):  # type: ignore[misc]  # icmplib has no types
    pass


class _Echo6(_HandedDown, ICMPv6Socket):  # type: ignore[misc]  # icmplib has no types
    pass


@dataclass(frozen=True, slots=True)
class Arrival:
    """A reply: round-trip delay, where its two stamps were taken, reply TTL, payload bytes, sender.

    `intact`: the payload came back as it was sent.
    """

    rtt_ns: int
    tx: Stamp
    rx: Stamp
    ttl: int | None
    size: int
    source: str
    intact: bool


class Listener(Protocol):
    """A job that sends echo requests."""

    def replied(self, probe: Probe, arrival: Arrival) -> None:
        """A reply to a probe arrived, perhaps not the first."""
        ...

    def refused(self, probe: Probe, error: wire.EchoError, source: str) -> None:
        """`source` sent an ICMP error about a probe."""
        ...


@dataclass(slots=True, eq=False)
class Probe:
    """One echo request on its way. `index` is its number in its job, `sequence` the one on the wire."""

    listener: Listener
    index: int
    sequence: int
    payload: bytes
    monotonic_ns: int = 0
    wall_ns: int = 0
    kernel_ns: int | None = None
    key: int = -1


def round_trip(probe: Probe, read_ns: int, kernel_ns: int | None) -> tuple[int, Stamp, Stamp]:
    """Choose the most exact delay that cannot be wrong, and say which stamps made it: (ns, tx, rx).

    Kernel stamps are wall time, which may step. User stamps are monotonic and enclose the kernel's,
    so a kernel delay that is negative or longer than the user's shows a step, and is not used.
    """
    user = read_ns - probe.monotonic_ns
    if kernel_ns is not None:
        if probe.kernel_ns is not None and 0 <= kernel_ns - probe.kernel_ns <= user:
            return kernel_ns - probe.kernel_ns, "kernel", "kernel"
        if 0 <= kernel_ns - probe.wall_ns <= user:
            return kernel_ns - probe.wall_ns, "user", "kernel"
    return user, "user", "user"


class Exchange:
    """All echo requests of this process on one socket. Get it from `exchange_on`.

    `ignored` counts replies nobody asked for.
    """

    def __init__(self, icmp: IcmpSocket, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.users = 0
        self.ignored = 0
        self._icmp = icmp
        self._sock = icmp.sock
        self._fd = icmp.sock.fileno()
        self._echo = (_Echo4 if icmp.family == 4 else _Echo6)(icmp)
        self._sequence = secrets.randbelow(1 << 16)
        self._in_flight: dict[int, Probe] = {}
        self._unstamped: dict[int, Probe] = {}
        self._key = 0

    def start(self) -> None:
        """Set the socket up and listen. What an earlier exchange left behind is thrown away."""
        sock, family = self._sock, self._icmp.family
        if self._icmp.kind == "raw":
            filters.attach(sock, family, self._icmp.ident)
        elif family == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        if family == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        self.read()
        self._restart_stamps()
        self.loop.add_reader(self._fd, self.read)

    def stop(self) -> None:
        """Stop listening. The socket stays open, for it belongs to the runtime."""
        self.loop.remove_reader(self._fd)

    def send(self, listener: Listener, index: int, sockaddr: tuple[Any, ...], *, size: int, ttl: int) -> Probe:
        """Send one echo request with `size` bytes of payload, at least 8. Raises OSError if the kernel refuses."""
        payload = secrets.token_bytes(_TOKEN_BYTES) + _FILLER[: size - _TOKEN_BYTES]
        probe = Probe(listener, index, self._next_sequence(), payload)
        packet = self._echo.build(self._icmp.ident, probe.sequence, payload)
        # Given with the packet, since other jobs of other TTLs share the socket.
        if self._icmp.family == 4:
            ancillary = [(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("=i", ttl))]
        else:
            ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", ttl))]
        self._in_flight[probe.sequence] = probe
        try:
            self._transmit(probe, packet, ancillary, sockaddr)
        except OSError:
            # It may be the late echo of another packet's error, which the socket then reports here.
            self._restart_stamps()
            try:
                self._transmit(probe, packet, ancillary, sockaddr)
            except OSError:
                del self._in_flight[probe.sequence]
                self._restart_stamps()
                raise
        self._unstamped[self._key] = probe
        probe.key = self._key
        self._key = (self._key + 1) & 0xFFFFFFFF
        return probe

    def forget(self, probe: Probe) -> None:
        """Expect no more replies to a probe."""
        if self._in_flight.get(probe.sequence) is probe:
            del self._in_flight[probe.sequence]
        if self._unstamped.get(probe.key) is probe:
            del self._unstamped[probe.key]

    def read(self) -> None:
        """Take in what has arrived. Called by the loop, and before a timeout is believed."""
        self.read_notices()
        for _ in range(512):
            try:
                packet, ancillary, _, source = self._sock.recvmsg(2048, 512)
            except BlockingIOError:
                return
            except OSError:
                # An error about an earlier packet; `notices` has its details.
                self.read_notices()
                continue
            self._take(packet, ancillary, str(source[0]), monotonic_ns())

    def read_notices(self) -> None:
        """Take in stamps of sent packets and ICMP errors. After `send`, the stamp is mostly there already."""
        for notice in kernelstamps.notices(self._sock):
            if isinstance(notice, kernelstamps.Sent):
                probe = self._unstamped.get(notice.key)
                # An earlier stamp belongs to a packet from before the counter was restarted.
                if probe is not None and notice.at_ns >= probe.wall_ns:
                    probe.kernel_ns = notice.at_ns
                    del self._unstamped[notice.key]
            elif error := wire.read_quote(notice.quote, self._icmp.family, notice.type, notice.code):
                self._refuse(error, notice.source)

    def _transmit(self, probe: Probe, packet: bytes, ancillary: Any, sockaddr: tuple[Any, ...]) -> None:
        # Monotonic time first, so that the user's delay encloses those made with wall time.
        probe.monotonic_ns = monotonic_ns()
        probe.wall_ns = wall_ns()
        self._sock.sendmsg([packet], ancillary, 0, sockaddr)

    def _next_sequence(self) -> int:
        for _ in range(1 << 16):
            self._sequence = (self._sequence + 1) & 0xFFFF
            if self._sequence not in self._in_flight:
                return self._sequence
        raise CannotMeasure("65536 echo requests are on their way already")

    def _restart_stamps(self) -> None:
        """Count sent packets from 0 again: after a refused send the kernel may have counted it, or not."""
        self.read_notices()
        self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._unstamped.clear()
        self._key = 0
        kernelstamps.enable(self._sock)

    def _take(self, packet: bytes, ancillary: kernelstamps.Ancillary, source: str, read_ns: int) -> None:
        raw = self._icmp.kind == "raw"
        message = wire.read(packet, self._icmp.family, ip_header=raw and self._icmp.family == 4)
        ttl = None
        for level, kind, data in ancillary:
            if (level, kind) in {(socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)}:
                (ttl,) = struct.unpack_from("=i", data)
        if message is None or (raw and message.ident != self._icmp.ident):
            return
        if isinstance(message, wire.EchoError):
            self._refuse(message, source)
            return
        probe = self._in_flight.get(message.sequence)
        if probe is None or message.payload[:_TOKEN_BYTES] != probe.payload[:_TOKEN_BYTES]:
            self.ignored += 1
            return
        if probe.kernel_ns is None:
            self.read_notices()
        rtt, tx, rx = round_trip(probe, read_ns, kernelstamps.received_ns(ancillary))
        intact = message.payload == probe.payload
        probe.listener.replied(probe, Arrival(rtt, tx, rx, ttl, len(message.payload), source, intact))

    def _refuse(self, error: wire.EchoError, source: str) -> None:
        probe = self._in_flight.get(error.sequence)
        quoted = error.payload[:_TOKEN_BYTES]
        # Routers need not quote any payload (RFC 792); what they do quote must be ours.
        if probe is None or not probe.payload.startswith(quoted):
            self.ignored += 1
            return
        probe.listener.refused(probe, error, source)


_EXCHANGES: WeakKeyDictionary[socket.socket, Exchange] = WeakKeyDictionary()


@contextlib.contextmanager
def exchange_on(icmp: IcmpSocket) -> Generator[Exchange, None, None]:
    """Join this process's exchange on a socket; the first to join starts it, the last to leave stops it."""
    loop = asyncio.get_running_loop()
    exchange = _EXCHANGES.get(icmp.sock)
    if exchange is None or exchange.loop is not loop:
        exchange = Exchange(icmp, loop)
        exchange.start()
        _EXCHANGES[icmp.sock] = exchange
    exchange.users += 1
    try:
        yield exchange
    finally:
        exchange.users -= 1
        if exchange.users == 0:
            exchange.stop()
            if _EXCHANGES.get(icmp.sock) is exchange:
                del _EXCHANGES[icmp.sock]
