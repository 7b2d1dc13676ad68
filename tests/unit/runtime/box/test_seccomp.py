"""The filter, judged call by call by a machine of our own on both architectures."""

import errno
import socket

import pytest

from runtime.box.bpf import ALLOW, KILL_PROCESS, fail
from runtime.box.seccomp import ABSENT, METADATA, NEW_NAMESPACES, REFUSED, SERVING, Calls, program
from runtime.box.syscalls import AUDIT, NEWEST, NUMBERS, Architecture
from tests.kit.bpf import judge, seccomp_data

PID = 4321
EPERM = fail(errno.EPERM)
ENOSYS = fail(errno.ENOSYS)
ALL = Calls(udp=True, listen=True, metadata=True)
NONE = Calls()
BOTH = pytest.mark.parametrize("arch", list(NUMBERS))


def verdict(arch: Architecture, name: str, *arguments: int, calls: Calls = NONE) -> int:
    data = seccomp_data(NUMBERS[arch][name], arguments, audit=AUDIT[arch])
    return judge(program(arch, PID, calls), data)


@BOTH
def test_what_is_never_allowed_fails_whatever_the_bundle_asked_for(arch: Architecture) -> None:
    known = [name for name in REFUSED if name in NUMBERS[arch]]
    assert {"execve", "ptrace", "mount", "bpf", "keyctl", "unshare"} <= set(known)
    assert {verdict(arch, name, calls=ALL) for name in known} == {EPERM}


@BOTH
def test_what_libraries_can_do_without_is_not_there(arch: Architecture) -> None:
    assert {verdict(arch, name, calls=ALL) for name in ABSENT} == {ENOSYS}


@BOTH
def test_everything_newer_than_the_tables_is_not_there(arch: Architecture) -> None:
    x32 = 0x40000000 | 59
    for number in (NEWEST + 1, 600, x32, 0xFFFFFFFF):
        assert judge(program(arch, PID, ALL), seccomp_data(number, audit=AUDIT[arch])) == ENOSYS


@BOTH
def test_another_architecture_kills(arch: Architecture) -> None:
    i386 = 0x40000003
    assert judge(program(arch, PID, ALL), seccomp_data(11, audit=i386)) == KILL_PROCESS


@BOTH
def test_the_ordinary_passes(arch: Architecture) -> None:
    # read, write, close, mmap, futex, connect, sendto, recvmsg, exit_group and openat, as each table has them.
    ordinary = {
        "x86_64": (0, 1, 3, 9, 202, 42, 44, 47, 231, 257),
        "aarch64": (63, 64, 57, 222, 98, 203, 206, 212, 94, 56),
    }
    for number in ordinary[arch]:
        assert judge(program(arch, PID, NONE), seccomp_data(number, audit=AUDIT[arch])) == ALLOW


@BOTH
def test_threads_may_be_made_and_processes_and_namespaces_not(arch: Architecture) -> None:
    # What glibc's pthread_create asks for, and what its fork asks for.
    thread, process = 0x3D0F00, 0x01200011
    assert verdict(arch, "clone", thread, calls=ALL) == ALLOW
    assert verdict(arch, "clone", process, calls=ALL) == EPERM
    for bit in (1 << shift for shift in range(32)):
        if bit & NEW_NAMESPACES:
            assert verdict(arch, "clone", thread | bit, calls=ALL) == EPERM


@BOTH
def test_signals_go_to_itself_alone(arch: Architecture) -> None:
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        assert verdict(arch, name, PID) == ALLOW
        for other in (1, PID + 1, 0, -1, -PID):
            assert verdict(arch, name, other) == EPERM


@BOTH
def test_limits_of_others_cannot_be_changed_nor_the_tie_to_the_runtime_cut(arch: Architecture) -> None:
    assert verdict(arch, "prlimit64", 0) == verdict(arch, "prlimit64", PID) == ALLOW
    assert verdict(arch, "prlimit64", 1) == EPERM
    set_death_signal, set_dumpable, set_name = 1, 4, 15
    assert verdict(arch, "prctl", set_name) == ALLOW
    assert verdict(arch, "prctl", set_death_signal) == verdict(arch, "prctl", set_dumpable) == EPERM


@BOTH
def test_the_kernel_cannot_be_made_to_signal_others(arch: Architecture) -> None:
    set_flags, set_owner = 4, 8
    assert verdict(arch, "fcntl", 3, set_flags) == ALLOW
    assert verdict(arch, "fcntl", 3, set_owner) == EPERM
    bytes_to_read, type_into_terminal = 0x541B, 0x5412
    assert verdict(arch, "ioctl", 3, bytes_to_read) == ALLOW
    assert verdict(arch, "ioctl", 3, type_into_terminal) == EPERM


@BOTH
def test_what_files_are_can_be_changed_only_with_a_user_of_ones_own(arch: Architecture) -> None:
    names = [name for name in METADATA if name in NUMBERS[arch]]
    assert {verdict(arch, name) for name in names} == {EPERM}
    assert {verdict(arch, name, calls=Calls(metadata=True)) for name in names} == {ALLOW}


@BOTH
def test_connections_are_taken_only_if_asked_for(arch: Architecture) -> None:
    assert {verdict(arch, name) for name in SERVING} == {EPERM}
    assert {verdict(arch, name, calls=Calls(listen=True)) for name in SERVING} == {ALLOW}


STREAM, DATAGRAM, RAW, SEQPACKET = 1, 2, 3, 5
NONBLOCK_CLOEXEC = 0x80800
UNIX, INET, INET6, NETLINK, PACKET, VSOCK, ALG = 1, 2, 10, 16, 17, 40, 38
TCP, UDP, ICMP, MPTCP, SCTP, UDPLITE, ROUTE, AUDIT_MESSAGES = 6, 17, 1, 262, 132, 136, 0, 9


@BOTH
def test_tcp_sockets_are_for_all_and_udp_for_who_asked(arch: Architecture) -> None:
    for family in (INET, INET6):
        for protocol in (0, TCP):
            assert verdict(arch, "socket", family, STREAM | NONBLOCK_CLOEXEC, protocol) == ALLOW
        for protocol in (0, UDP):
            assert verdict(arch, "socket", family, DATAGRAM | NONBLOCK_CLOEXEC, protocol) == EPERM
            assert verdict(arch, "socket", family, DATAGRAM, protocol, calls=Calls(udp=True)) == ALLOW
    assert verdict(arch, "socket", NETLINK, RAW, ROUTE, calls=Calls(udp=True)) == ALLOW


@BOTH
@pytest.mark.parametrize(
    "asked",
    [
        (UNIX, STREAM, 0),
        (INET, RAW, ICMP),
        (INET6, RAW, 58),
        (INET, DATAGRAM, ICMP),
        (INET, STREAM, MPTCP),
        (INET, STREAM, SCTP),
        (INET, SEQPACKET, SCTP),
        (INET, DATAGRAM, UDPLITE),
        (NETLINK, RAW, AUDIT_MESSAGES),
        (PACKET, RAW, 8),
        (VSOCK, STREAM, 0),
        (ALG, SEQPACKET, 0),
    ],
)
def test_no_other_socket_is_opened(arch: Architecture, asked: tuple[int, int, int]) -> None:
    assert verdict(arch, "socket", *asked, calls=ALL) == EPERM


@BOTH
def test_pairs_are_made_within_the_process_alone(arch: Architecture) -> None:
    assert verdict(arch, "socketpair", socket.AF_UNIX, STREAM) == ALLOW
    assert verdict(arch, "socketpair", socket.AF_UNIX, STREAM | NONBLOCK_CLOEXEC) == ALLOW
    # A datagram socket can be turned to another peer, whoever its first one was.
    for family, kind in ((30, STREAM), (UNIX, DATAGRAM), (UNIX, DATAGRAM | NONBLOCK_CLOEXEC), (UNIX, SEQPACKET)):
        assert verdict(arch, "socketpair", family, kind, calls=ALL) == EPERM


@BOTH
def test_nothing_connects_by_sending(arch: Architecture) -> None:
    no_signal, fast_open = 0x4000, 0x2000_0000
    for name, arguments in (("sendto", (3, 1, 1)), ("sendmsg", (3, 1)), ("sendmmsg", (3, 1, 1))):
        assert verdict(arch, name, *arguments, no_signal) == ALLOW
        assert verdict(arch, name, *arguments, no_signal | fast_open, calls=ALL) == EPERM


@BOTH
def test_memory_that_outlives_its_mapping_is_not_to_be_had(arch: Architecture) -> None:
    shared, private, shared_validate, anonymous, no_reserve = 1, 2, 3, 0x20, 0x4000
    for flags in (private | anonymous | no_reserve, shared, shared_validate, private):
        assert verdict(arch, "mmap", 0, 4096, 3, flags) == ALLOW
    for flags in (shared | anonymous, shared_validate | anonymous | no_reserve):
        assert verdict(arch, "mmap", 0, 4096, 3, flags, calls=ALL) == EPERM


@BOTH
def test_the_kernel_writes_the_headers_of_what_an_inherited_socket_sends(arch: Architecture) -> None:
    ip, tcp, ipv6 = 0, 6, 41
    for level, name in ((ip, 3), (ip, 4), (ipv6, 36)):
        assert verdict(arch, "setsockopt", 3, level, name, calls=ALL) == EPERM
    # Time to live, no delay, hop limit and size of a buffer.
    for level, name in ((ip, 2), (tcp, 1), (ipv6, 16), (1, 8), (1, 3), (tcp, 36)):
        assert verdict(arch, "setsockopt", 3, level, name) == ALLOW
