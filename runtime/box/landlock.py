"""Landlock: which files and TCP ports this process may use, by rules that it gives itself for good.

Rights and structures from linux/landlock.h. Each ABI of the kernel knows more; what it does not know is not asked
for, and `levels` says what that leaves open. Metadata, UDP and raw sockets are never watched by it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import Final

from msgspec import Struct

from runtime.box import kernel

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15

_SINCE_ABI: Final = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_ON_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

READ: Final = _READ_FILE | _READ_DIR
WRITE: Final = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE
"""No devices, sockets or pipes are made, and nothing in it is ever executed."""

BIND_TCP: Final = 1
CONNECT_TCP: Final = 2
PORTS_SINCE: Final = 4
SCOPES_SINCE: Final = 6
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 3


class Rules(Struct, frozen=True, kw_only=True):
    """What is allowed: folders and files with all below them, and TCP ports, where None allows every port."""

    read: list[str]
    write: list[str]
    connect: list[int] | None
    bind: list[int] | None


class Handled(Struct, frozen=True):
    """What the rules are about on a kernel with some ABI: everything in it that no rule allows is refused."""

    files: int
    net: int
    scopes: int

    def packed(self, abi: int) -> bytes:
        """`struct landlock_ruleset_attr`, as much of it as this ABI knows."""
        size = 8 if abi < PORTS_SINCE else 16 if abi < SCOPES_SINCE else 24
        return struct.pack("=QQQ", self.files, self.net, self.scopes)[:size]


def handled(abi: int, rules: Rules) -> Handled:
    """What can be asked of this ABI for these rules."""
    files = sum(rights for since, rights in _SINCE_ABI if abi >= since)
    net = 0
    if abi >= PORTS_SINCE:
        net = (BIND_TCP if rules.bind is not None else 0) | (CONNECT_TCP if rules.connect is not None else 0)
    return Handled(files, net, _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= SCOPES_SINCE else 0)


def rights(wanted: int, files: int, *, folder: bool) -> int:
    """The rights for one path: only those that are handled, and on a file only those that files have."""
    return wanted & files & (~0 if folder else _ON_FILES)


def restrict(rules: Rules) -> int:
    """Put this process, which has one thread, under the rules. Returns the ABI. Raises OSError.

    Paths that do not exist are left out. `/proc/self` means this process only if the caller is the
    process to be restricted.
    """
    abi = kernel.landlock_abi()
    if abi == 0:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock, or it is switched off")
    wanted = handled(abi, rules)
    ruleset = kernel.landlock_ruleset(wanted.packed(abi))
    try:
        for paths, what in ((rules.read, READ), (rules.write, WRITE)):
            for path in paths:
                _allow_path(ruleset, path, what, wanted.files)
        for ports, what in ((rules.bind, BIND_TCP), (rules.connect, CONNECT_TCP)):
            if wanted.net & what:
                for port in sorted(set(ports or [])):
                    kernel.landlock_rule(ruleset, kernel.RULE_PORT, struct.pack("=QQ", what, port))
        kernel.landlock_restrict(ruleset)
    finally:
        os.close(ruleset)
    return abi


def _allow_path(ruleset: int, path: str, wanted: int, files: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # What cannot be reached is not reached with a rule either.
        return
    try:
        allowed = rights(wanted, files, folder=stat.S_ISDIR(os.fstat(descriptor).st_mode))
        kernel.landlock_rule(ruleset, kernel.RULE_PATH, struct.pack("=Qi", allowed, descriptor))
    finally:
        os.close(descriptor)
