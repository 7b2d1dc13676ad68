"""Packets to where none may go, by every protocol that a worker has. The test looks at what arrives."""

import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from .attempts import outcome

MARK = b"mmn-hostile"
FAST_OPEN = 0x2000_0000
HEADER_INCLUDED = 3
METADATA = "169.254.169.254"


def reach(port: int, elsewhere: str, *, near: bool) -> dict[str, str]:
    """Try this host by each of its addresses, and what is near it. `elsewhere` is an address of the host beside loopback."""
    around: dict[str, Callable[[], Any]] = {
        "TCP to the clouds' metadata": lambda: tcp((METADATA, 80)),
        "UDP to the clouds' metadata": lambda: udp((METADATA, 53)),
        "UDP to everybody near": lambda: broadcast(port),
        "UDP to a group": lambda: udp(("224.0.0.251", 5353)),
    }
    tries: dict[str, Callable[[], Any]] = {
        "TCP": lambda: tcp(("127.0.0.1", port)),
        "TCP over IPv6": lambda: tcp(("::1", port)),
        "TCP to a mapped address": lambda: tcp(("::ffff:127.0.0.1", port)),
        "TCP with fast open": lambda: fast_open(port),
        "TCP to the host's other address": lambda: tcp((elsewhere, port)),
        "UDP": lambda: udp(("127.0.0.1", port)),
        "UDP over IPv6": lambda: udp(("::1", port)),
        "UDP, connected": lambda: udp_connected(port),
        "UDP to the host's other address": lambda: udp((elsewhere, port)),
        "ICMP over the inherited socket": ping,
        "UDP from a foreign address, over the ICMP socket": lambda: forge(port),
        **(around if near else {}),
    }
    return {name: outcome(attempt) for name, attempt in tries.items()}


def tcp(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as sock:
        sock.settimeout(1)
        sock.connect(address)
        sock.send(MARK)


def fast_open(port: int) -> None:
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.sendto(MARK, FAST_OPEN, ("127.0.0.1", port))
        # The data may go with the first packet, so that an answer tells.
        sock.getpeername()


def udp(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(MARK, address)


def udp_connected(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.send(MARK)


def broadcast(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(MARK, ("255.255.255.255", port))


def ping() -> None:
    body = struct.pack("!BBHHH", 8, 0, 0, 7, 7) + MARK + b"\0"
    with inherited() as sock:
        sock.sendto(body[:2] + checksum(body) + body[4:], ("127.0.0.1", 0))


def forge(port: int) -> None:
    datagram = struct.pack("!4H", 9, port, 8 + len(MARK), 0) + MARK
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0)
    packet = header + socket.inet_aton("127.0.0.2") + socket.inet_aton("127.0.0.1") + datagram
    with inherited() as sock:
        sock.setsockopt(socket.IPPROTO_IP, HEADER_INCLUDED, 1)
        sock.sendto(packet, ("127.0.0.1", 0))


def inherited() -> socket.socket:
    """The ICMP socket that came with this worker, found among its descriptors."""
    for descriptor in range(3, 64):
        try:
            sock = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            continue
        if (sock.family, sock.proto) == (socket.AF_INET, socket.IPPROTO_ICMP):
            return sock
        sock.close()
    raise LookupError("no ICMP socket")


def checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!H", ~total & 0xFFFF)
