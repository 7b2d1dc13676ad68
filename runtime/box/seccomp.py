"""Which system calls a worker may make: everything but what is named here, and nothing newer than what is known.

A call that is refused fails with an errno, so that a function hears of it and its result can say so. Only a call for
another architecture kills, since there the numbers mean something else.
"""

from __future__ import annotations

import errno
import os
import platform
import socket
from typing import Final

from msgspec import Struct

from runtime.box import bpf, kernel
from runtime.box.bpf import Assembly, Program, argument, fail
from runtime.box.syscalls import AUDIT, NEWEST, NUMBERS, Architecture, architecture

CLONE_THREAD: Final = 0x00010000
NEW_NAMESPACES: Final = 0x7E020080
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME."""

REFUSED: Final = (
    # Other processes: to make them, to look into them, to slow them down.
    *("fork", "vfork", "execve", "execveat", "tkill", "pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp"),
    *("setpriority", "sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity", "ioprio_set"),
    *("migrate_pages", "move_pages", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    # Another identity, another view of the file system.
    *("capset", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid"),
    *("setfsgid", "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree"),
    *("open_tree_attr", "fsopen", "fsconfig", "fspick", "fsmount", "mount_setattr", "statmount", "listmount"),
    # Large and seldom used parts of the kernel, where its faults are found.
    *("bpf", "perf_event_open", "userfaultfd", "io_setup", "io_submit", "seccomp", "add_key", "keyctl"),
    *("request_key", "memfd_secret", "personality", "iopl", "ioperm", "modify_ldt", "uselib", "ustat", "sysfs"),
    *("_sysctl", "lookup_dcookie", "nfsservctl", "vmsplice"),
    # The machine as a whole.
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon"),
    *("swapoff", "acct", "quotactl", "quotactl_fd", "syslog", "vhangup", "settimeofday", "clock_settime"),
    *("sethostname", "setdomainname"),
    # Ways round the rules for files, and what would stay when the worker is gone.
    *("mknod", "mknodat", "name_to_handle_at", "open_by_handle_at", "fanotify_init", "fanotify_mark"),
    *("shmget", "shmat", "shmctl", "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd", "msgrcv"),
    *("msgctl", "mq_open", "mq_unlink"),
)
"""These fail with EPERM, whatever their arguments."""

METADATA: Final = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes"),
    *("futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr"),
    *("fremovexattr", "removexattrat", "truncate"),
)
"""Landlock does not watch these, so a worker that shares the runtime's user could turn them on the runtime's files."""

ABSENT: Final = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_create")
"""These fail with ENOSYS, as on a kernel without them: then libraries take the way that they took before."""

SERVING: Final = ("listen", "accept", "accept4")

ALLOWED_PRCTL: Final = (2, 3, 15, 16, 21, 30, 38, 39, 0x53564D41)
"""PR_GET_PDEATHSIG, GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, GET_TIMERSLACK, SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS and
SET_VMA. Not SET_PDEATHSIG: a worker must not outlive its runtime."""

REFUSED_FCNTL: Final = (8, 10, 15, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX and F_NOTIFY make the kernel send signals to others."""

REFUSED_IOCTL: Final = (0x5412, 0x541C, 0x8901, 0x8902)
"""TIOCSTI and TIOCLINUX type into a terminal; FIOSETOWN and SIOCSPGRP are F_SETOWN by another name."""

REFUSED_OPTIONS: Final = ((0, 3), (0, 4), (41, 36))
"""IP_HDRINCL, IP_OPTIONS and IPV6_HDRINCL (level, name): with them an inherited ICMP socket sends packets of every protocol
and from every address, or by way of others."""

FAST_OPEN: Final = 0x2000_0000
"""MSG_FASTOPEN connects without the call that Landlock watches."""

SHARED: Final = 1
ANONYMOUS: Final = 0x20
"""MAP_SHARED (or SHARED_VALIDATE, which has its bit) with MAP_ANONYMOUS: memory that stays when all but a page of it is unmapped,
so that no limit sees it."""

_TYPE_BITS: Final = 0xF


class Calls(Struct, frozen=True, kw_only=True):
    """What a worker may do beside the ordinary.

    `udp`: have UDP sockets, and ask the kernel for routes as name look-ups do; `listen`: take
    connections; `metadata`: change modes and owners of files, harmless with a user of its own.
    """

    udp: bool = False
    listen: bool = False
    metadata: bool = False


def program(arch: Architecture, pid: int, calls: Calls) -> Program:
    """The filter for process `pid` on this architecture."""
    numbers = NUMBERS[arch]
    refused = [*REFUSED, *(() if calls.metadata else METADATA), *(() if calls.listen else SERVING)]
    asm = Assembly()
    asm.load(bpf.ARCHITECTURE)
    asm.branch(bpf.IF_EQUAL, AUDIT[arch], no="foreign")
    asm.load(bpf.NUMBER)
    # On x86_64 this also catches the x32 calls, which have a high bit set.
    asm.branch(bpf.IF_AT_LEAST, NEWEST + 1, yes="absent")
    for name in ABSENT:
        asm.branch(bpf.IF_EQUAL, numbers[name], yes="absent")
    for name in refused:
        if name in numbers:
            asm.branch(bpf.IF_EQUAL, numbers[name], yes="refused")
    asm.jump("depends")
    for label, value in (
        ("foreign", bpf.KILL_PROCESS),
        ("absent", fail(errno.ENOSYS)),
        ("refused", fail(errno.EPERM)),
    ):
        asm.label(label)
        asm.verdict(value)
    asm.label("depends")
    _clone(asm, numbers["clone"])
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        _only(asm, numbers[name], 0, (pid,))
    _only(asm, numbers["prlimit64"], 0, (0, pid))
    _only(asm, numbers["prctl"], 0, ALLOWED_PRCTL)
    _never(asm, numbers["fcntl"], 1, REFUSED_FCNTL)
    _never(asm, numbers["ioctl"], 1, REFUSED_IOCTL)
    _without_bits(asm, numbers["sendto"], 3, FAST_OPEN)
    _without_bits(asm, numbers["sendmsg"], 2, FAST_OPEN)
    _without_bits(asm, numbers["sendmmsg"], 3, FAST_OPEN)
    _without_bits(asm, numbers["mmap"], 3, SHARED, ANONYMOUS)
    _options(asm, numbers["setsockopt"])
    _pair(asm, numbers["socketpair"])
    _socket(asm, numbers["socket"], udp=calls.udp)
    asm.verdict(bpf.ALLOW)
    return asm.program()


def install(calls: Calls) -> None:
    """Put this process under the filter for good. Raises OSError, with ENOSYS where no table is for the machine."""
    arch = architecture(platform.machine())
    if arch is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    kernel.filter_calls(NUMBERS[arch]["seccomp"], bpf.packed(program(arch, os.getpid(), calls)))


def _only(asm: Assembly, number: int, index: int, values: tuple[int, ...]) -> None:
    """Refuse the call unless an argument is one of these."""
    past, good = asm.new_label(), asm.new_label()
    asm.branch(bpf.IF_EQUAL, number, no=past)
    asm.load(argument(index))
    for value in values:
        asm.branch(bpf.IF_EQUAL, value, yes=good)
    asm.verdict(fail(errno.EPERM))
    asm.label(good)
    asm.verdict(bpf.ALLOW)
    asm.label(past)


def _never(asm: Assembly, number: int, index: int, values: tuple[int, ...]) -> None:
    """Refuse the call if an argument is one of these."""
    past, bad = asm.new_label(), asm.new_label()
    asm.branch(bpf.IF_EQUAL, number, no=past)
    asm.load(argument(index))
    for value in values:
        asm.branch(bpf.IF_EQUAL, value, yes=bad)
    asm.verdict(bpf.ALLOW)
    asm.label(bad)
    asm.verdict(fail(errno.EPERM))
    asm.label(past)


def _without_bits(asm: Assembly, number: int, index: int, *bits: int) -> None:
    """Refuse the call if an argument has every one of these bits."""
    past, good = asm.new_label(), asm.new_label()
    asm.branch(bpf.IF_EQUAL, number, no=past)
    asm.load(argument(index))
    for bit in bits:
        asm.branch(bpf.IF_ANY_BIT, bit, no=good)
    asm.verdict(fail(errno.EPERM))
    asm.label(good)
    asm.verdict(bpf.ALLOW)
    asm.label(past)


def _options(asm: Assembly, number: int) -> None:
    """Options of sockets but those refused."""
    past, bad = asm.new_label(), asm.new_label()
    asm.branch(bpf.IF_EQUAL, number, no=past)
    for level, name in REFUSED_OPTIONS:
        other = asm.new_label()
        asm.load(argument(1))
        asm.branch(bpf.IF_EQUAL, level, no=other)
        asm.load(argument(2))
        asm.branch(bpf.IF_EQUAL, name, yes=bad)
        asm.label(other)
    asm.verdict(bpf.ALLOW)
    asm.label(bad)
    asm.verdict(fail(errno.EPERM))
    asm.label(past)


def _pair(asm: Assembly, number: int) -> None:
    """Pairs of streams, as event loops have them. One of datagrams could be turned to any UNIX socket of the host."""
    past, bad = asm.new_label(), asm.new_label()
    asm.branch(bpf.IF_EQUAL, number, no=past)
    asm.load(argument(0))
    asm.branch(bpf.IF_EQUAL, socket.AF_UNIX, no=bad)
    asm.load(argument(1))
    asm.keep_bits(_TYPE_BITS)
    asm.branch(bpf.IF_EQUAL, socket.SOCK_STREAM, no=bad)
    asm.verdict(bpf.ALLOW)
    asm.label(bad)
    asm.verdict(fail(errno.EPERM))
    asm.label(past)


def _clone(asm: Assembly, number: int) -> None:
    """Threads, and nothing else. The C library makes processes with it too, whatever becomes of `fork`."""
    past, bad = asm.new_label(), asm.new_label()
    asm.branch(bpf.IF_EQUAL, number, no=past)
    asm.load(argument(0))
    asm.branch(bpf.IF_ANY_BIT, NEW_NAMESPACES, yes=bad)
    asm.branch(bpf.IF_ANY_BIT, CLONE_THREAD, no=bad)
    asm.verdict(bpf.ALLOW)
    asm.label(bad)
    asm.verdict(fail(errno.EPERM))
    asm.label(past)


def _socket(asm: Assembly, number: int, *, udp: bool) -> None:
    """TCP always, since the worker's own connection is one. The rest only if asked for; raw sockets are handed down.

    TCP and UDP by their own numbers only: MPTCP and SCTP would pass by Landlock's rules for ports.
    """
    past, internet, stream, good, bad = (asm.new_label() for _ in range(5))
    asm.branch(bpf.IF_EQUAL, number, no=past)
    asm.load(argument(0))
    asm.branch(bpf.IF_EQUAL, socket.AF_INET, yes=internet)
    asm.branch(bpf.IF_EQUAL, socket.AF_INET6, yes=internet)
    if udp:
        # Protocol 0 is routes. `getaddrinfo` asks which families of addresses there are.
        asm.branch(bpf.IF_EQUAL, socket.AF_NETLINK, no=bad)
        asm.load(argument(2))
        asm.branch(bpf.IF_EQUAL, 0, yes=good, no=bad)
    else:
        asm.jump(bad)
    asm.label(internet)
    asm.load(argument(1))
    asm.keep_bits(_TYPE_BITS)
    asm.branch(bpf.IF_EQUAL, socket.SOCK_STREAM, yes=stream)
    if udp:
        asm.branch(bpf.IF_EQUAL, socket.SOCK_DGRAM, no=bad)
        asm.load(argument(2))
        asm.branch(bpf.IF_EQUAL, 0, yes=good)
        asm.branch(bpf.IF_EQUAL, socket.IPPROTO_UDP, yes=good, no=bad)
    else:
        asm.jump(bad)
    asm.label(stream)
    asm.load(argument(2))
    asm.branch(bpf.IF_EQUAL, 0, yes=good)
    asm.branch(bpf.IF_EQUAL, socket.IPPROTO_TCP, yes=good)
    asm.label(bad)
    asm.verdict(fail(errno.EPERM))
    asm.label(good)
    asm.verdict(bpf.ALLOW)
    asm.label(past)
