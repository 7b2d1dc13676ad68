"""ICMP sockets: opened where the privilege is, used where it is not.

The runtime opens one pair of sockets for each worker, before the worker gives up its
privileges, and hands them down. Never share one pair between processes: whoever reads
first would take the other's replies.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from contracts.errors import CannotMeasure
from contracts.failure import Code
from runtime.sdk import kernelstamps

Family = Literal[4, 6]
Kind = Literal["raw", "datagram"]

_PLACES: dict[Family, tuple[int, int]] = {
    4: (socket.AF_INET, socket.IPPROTO_ICMP),
    6: (socket.AF_INET6, socket.IPPROTO_ICMPV6),
}
_RECEIVE_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_SO_MEMINFO = 55
_INSTRUCTION = struct.Struct("=HBBI")

Program = list[tuple[int, int, int, int]]
"""Classic BPF instructions: code, jump if true, jump if false, operand."""

_DROP_ALL: Program = [(0x06, 0, 0, 0)]


@dataclass(frozen=True, slots=True, eq=False)
class IcmpSocket:
    """A non-blocking ICMP socket of one process.

    `raw` sockets see every ICMP packet of the host and choose their identifier. They come deaf, so that an
    idle worker collects nothing: say with `attach_filter` what to receive. With `datagram` sockets
    (Linux ping sockets) the kernel owns the identifier and hands over own replies only.
    """

    sock: socket.socket
    kind: Kind
    family: Family
    ident: int = field(default_factory=lambda: 1 + secrets.randbelow(0xFFFF))
    """Echo identifier for raw sockets: one per socket, random, so that two workers of a host do not mix."""

    @classmethod
    def adopt(cls, fd: int) -> IcmpSocket:
        """Take over an open descriptor that was handed down."""
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        kind: Kind = "raw" if sock.type == socket.SOCK_RAW else "datagram"
        return cls(sock, kind, 6 if sock.family == socket.AF_INET6 else 4)


def open_icmp(family: Family, *, kinds: Iterable[Kind] = ("raw", "datagram")) -> IcmpSocket:
    """Open an ICMP socket of the first kind that is allowed.

    Raises CannotMeasure with the command that helps, or for lack of the address family.
    """
    domain, protocol = _PLACES[family]
    for kind in kinds:
        try:
            sock = socket.socket(domain, socket.SOCK_RAW if kind == "raw" else socket.SOCK_DGRAM, protocol)
        except PermissionError:
            continue
        except OSError as error:
            if error.errno in {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}:
                raise CannotMeasure(f"this node has no IPv{family}", code=Code.NO_ADDRESS_FAMILY) from error
            raise CannotMeasure(f"no ICMP socket for IPv{family}: {error.strerror}") from error
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except OSError:
            # The unprivileged option is capped by net.core.rmem_max, which is all there is then.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if kind == "raw":
            attach_filter(sock, _DROP_ALL)
        with contextlib.suppress(OSError):
            # The kernel switches packet stamps on for the host with a delay: ask early, so that the first job has them.
            kernelstamps.enable(sock, tx=False)
        return IcmpSocket(sock, kind, family)
    raise CannotMeasure(remedy(), code=Code.NO_PRIVILEGE)


def attach_filter(sock: socket.socket, program: Program) -> None:
    """Let the kernel drop what a classic BPF program does not accept, before it wakes the process.

    The packet begins with its IP header on raw IPv4 sockets, with the ICMPv6 header on raw IPv6 sockets.
    """
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*line) for line in program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


def drops(sock: socket.socket) -> int | None:
    """Packets that this socket lost so far because its buffer was full. None: the kernel does not tell."""
    try:
        counters = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 9 * 4)
    except OSError:
        return None
    return int(struct.unpack("=9I", counters)[8]) if len(counters) == 9 * 4 else None


def remedy() -> str:
    """One sentence with the exact commands that let this interpreter send ICMP."""
    python = os.path.realpath(sys.executable)
    return (
        'this node may open no ICMP socket: run `sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"`, '
        f"or `sudo setcap cap_net_raw+ep {python}`, or start the runtime as root"
    )


class IcmpSockets:
    """The ICMP sockets of one worker, one per address family.

    The default opens each when it is first asked for; the runtime calls `open_all` before the
    worker loses its privileges. What could not be opened is said at every `get`.
    """

    def __init__(self, opener: Callable[[Family], IcmpSocket] = open_icmp) -> None:
        self._opener = opener
        self._opened: dict[Family, IcmpSocket | CannotMeasure] = {}

    @classmethod
    def adopt(cls, fds: Iterable[int]) -> IcmpSockets:
        """Take over descriptors that were handed down, in any order; nothing else can be opened."""
        sockets = cls(_handed_down_only)
        for fd in fds:
            icmp = IcmpSocket.adopt(fd)
            sockets._opened[icmp.family] = icmp
        return sockets

    @classmethod
    def none(cls) -> IcmpSockets:
        """For a function whose manifest does not ask for ICMP."""
        return cls(_not_asked_for)

    def open_all(self) -> None:
        """Open both families now, or remember why not."""
        for family in _PLACES:
            with contextlib.suppress(CannotMeasure):
                self.get(family)

    def filenos(self) -> list[int]:
        """The open descriptors, for handing down."""
        return [icmp.sock.fileno() for icmp in self._opened.values() if isinstance(icmp, IcmpSocket)]

    def get(self, family: Family) -> IcmpSocket:
        """Return the socket of a family. Raises CannotMeasure with the remedy."""
        if family not in self._opened:
            try:
                self._opened[family] = self._opener(family)
            except CannotMeasure as reason:
                self._opened[family] = reason
        found = self._opened[family]
        if isinstance(found, CannotMeasure):
            raise CannotMeasure(str(found), code=found.code)
        return found

    def close(self) -> None:
        """Close what is open."""
        for icmp in self._opened.values():
            if isinstance(icmp, IcmpSocket):
                icmp.sock.close()
        self._opened.clear()


def _handed_down_only(_family: Family) -> IcmpSocket:
    raise CannotMeasure(remedy(), code=Code.NO_PRIVILEGE)


def _not_asked_for(_family: Family) -> IcmpSocket:
    raise CannotMeasure('the bundle did not ask for ICMP: put needs = ["icmp"] into its function.toml')
