from __future__ import annotations

import socket
import struct
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from runtime.sdk import kernelstamps

STAMP = (socket.SOL_SOCKET, 37, struct.pack("=qqqqqq", 1_700_000_000, 123_456_789, 0, 0, 0, 0))


def extended(level: int, kind: int, origin: int, number: int, offender: bytes = b"") -> tuple[int, int, bytes]:
    return level, kind, struct.pack("=IBBBBII", 42, origin, 3, 13, 0, 0, number) + offender


class Queue:
    """A socket whose error queue holds these messages."""

    def __init__(self, *messages: tuple[bytes, kernelstamps.Ancillary]) -> None:
        self.messages = list(messages)

    def recvmsg(self, _size: int, _ancillary: int, _flags: int) -> tuple[bytes, kernelstamps.Ancillary, int, None]:
        if not self.messages:
            raise BlockingIOError
        return *self.messages.pop(0), 0, None


def read(*messages: tuple[bytes, kernelstamps.Ancillary]) -> list[kernelstamps.Sent | kernelstamps.Refusal]:
    return list(kernelstamps.notices(cast("socket.socket", Queue(*messages))))


def test_the_receive_stamp_is_found_among_other_messages() -> None:
    other = (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("=i", 64))
    assert kernelstamps.received_ns([other, STAMP]) == 1_700_000_000_123_456_789
    assert kernelstamps.received_ns([other]) is None
    assert kernelstamps.received_ns([(socket.SOL_SOCKET, 37, bytes(48))]) is None


def test_stamps_of_sent_packets_come_with_their_number() -> None:
    messages = [(b"", [STAMP, extended(socket.IPPROTO_IP, 11, 4, key)]) for key in (7, 8)]
    messages.append((b"", [STAMP, extended(socket.IPPROTO_IPV6, 25, 4, 9)]))
    assert read(*messages) == [kernelstamps.Sent(key, 1_700_000_000_123_456_789) for key in (7, 8, 9)]


def test_an_icmp_error_comes_with_its_sender_and_the_quoted_packet() -> None:
    four = struct.pack("=HH", socket.AF_INET, 0) + socket.inet_aton("192.0.2.1") + bytes(8)
    six = struct.pack("=HHI", socket.AF_INET6, 0, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(4)
    notices = read(
        (b"quote", [extended(socket.IPPROTO_IP, 11, 2, 0, four)]),
        (b"", [extended(socket.IPPROTO_IPV6, 25, 3, 0, six)]),
    )
    assert notices == [
        kernelstamps.Refusal(3, 13, "192.0.2.1", b"quote"),
        kernelstamps.Refusal(3, 13, "2001:db8::1", b""),
    ]


def test_errors_of_this_host_and_unknown_messages_are_skipped() -> None:
    local = extended(socket.IPPROTO_IP, 11, 1, 0)
    assert read((b"", [local]), (b"", []), (b"", [extended(socket.IPPROTO_IP, 11, 4, 1)])) == []


@given(data=st.binary(max_size=64), level=st.sampled_from([0, 1, 41]), kind=st.sampled_from([11, 25, 37]))
def test_no_control_message_breaks_the_reader(data: bytes, level: int, kind: int) -> None:
    read((b"", [(level, kind, data)]))
    kernelstamps.received_ns([(level, kind, data)])


def test_stamps_of_an_ordinary_socket_can_be_switched_on_twice() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(2):
            stamps = kernelstamps.enable(sock)
            assert stamps.tx == stamps.rx
        assert kernelstamps.enable(sock, tx=False).tx == "user"


def test_a_socket_that_takes_no_stamps_says_user() -> None:
    class Refusing:
        def setsockopt(self, *_args: object) -> None:
            raise OSError

    stamps = kernelstamps.enable(cast("socket.socket", Refusing()))
    assert (stamps.tx, stamps.rx) == ("user", "user")
