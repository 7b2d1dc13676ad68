from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from runtime.sdk import CannotMeasure, Code, IcmpSocket, IcmpSockets
from runtime.sdk.icmp import Family, attach_filter, drops, open_icmp


def refuse(number: int) -> Any:
    def opened(*_args: Any, **_options: Any) -> socket.socket:
        raise OSError(number, "made up")

    return opened


def test_without_privilege_the_message_holds_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", refuse(errno.EPERM))
    with pytest.raises(CannotMeasure) as reason:
        open_icmp(4)
    assert reason.value.code is Code.NO_PRIVILEGE
    assert 'sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"' in str(reason.value)
    assert "sudo setcap cap_net_raw+ep /" in str(reason.value)


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EAFNOSUPPORT, Code.NO_ADDRESS_FAMILY), (errno.EMFILE, Code.CANNOT_MEASURE)]
)
def test_other_reasons_are_told_apart(number: int, code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", refuse(number))
    with pytest.raises(CannotMeasure) as reason:
        open_icmp(6)
    assert reason.value.code is code


def fake(family: Family) -> IcmpSocket:
    """An ordinary socket of that family: enough to be kept and handed on."""
    return IcmpSocket(
        socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM), "raw", family
    )


def test_a_socket_is_opened_once_and_shared() -> None:
    sockets = IcmpSockets(fake)
    assert sockets.get(4) is sockets.get(4)
    assert sockets.filenos() == [sockets.get(4).sock.fileno()]
    sockets.close()
    assert sockets.filenos() == []


def test_what_could_not_be_opened_is_said_every_time_and_hinders_no_other_family() -> None:
    asked: list[Family] = []

    def only_ipv4(family: Family) -> IcmpSocket:
        asked.append(family)
        if family == 6:
            raise CannotMeasure("no IPv6", code=Code.NO_ADDRESS_FAMILY)
        return fake(family)

    sockets = IcmpSockets(only_ipv4)
    sockets.open_all()
    for _ in range(2):
        with pytest.raises(CannotMeasure, match="no IPv6") as reason:
            sockets.get(6)
        assert reason.value.code is Code.NO_ADDRESS_FAMILY
    assert sockets.get(4).family == 4
    assert asked == [4, 6]
    sockets.close()


def test_descriptors_handed_down_are_found_by_family() -> None:
    given = [fake(6), fake(4)]
    sockets = IcmpSockets.adopt([icmp.sock.detach() for icmp in given])
    for family in (4, 6):
        icmp = sockets.get(family)
        assert (icmp.family, icmp.kind) == (family, "datagram")
        assert not icmp.sock.getblocking()
    sockets.close()


def test_nothing_is_opened_after_handing_down() -> None:
    with pytest.raises(CannotMeasure) as reason:
        IcmpSockets.adopt([]).get(4)
    assert reason.value.code is Code.NO_PRIVILEGE


def test_a_bundle_that_did_not_ask_is_told_how_to() -> None:
    with pytest.raises(CannotMeasure, match="did not ask for ICMP"):
        IcmpSockets.none().get(4)


def test_identifiers_of_two_sockets_differ_mostly() -> None:
    made = [fake(4) for _ in range(20)]
    assert len({icmp.ident for icmp in made}) > 15
    assert all(0 < icmp.ident <= 0xFFFF for icmp in made)
    for icmp in made:
        icmp.sock.close()


def test_a_filter_decides_what_a_socket_receives_and_filtered_packets_are_no_drops() -> None:
    def accepted(verdict: int) -> bool:
        ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, other:
            ours.setblocking(False)
            attach_filter(ours, [(0x06, 0, 0, verdict)])
            try:
                other.send(b"packet")
                return ours.recv(16) == b"packet"
            except OSError:
                return False
            finally:
                assert drops(ours) == 0

    assert accepted(0xFFFF)
    assert not accepted(0)
