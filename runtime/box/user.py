"""A user for each worker, and the capabilities that it does not get."""

from __future__ import annotations

import errno
import os
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from contracts.errors import InvalidField
from runtime.box import kernel

FIRST: Final = 400_000
USERS: Final = 1000
_NODES: Final = 100
_HIGHEST: Final = 0xFFFF_FFF0

NEEDED: Final = {0: "CAP_CHOWN", 1: "CAP_DAC_OVERRIDE", 5: "CAP_KILL", 6: "CAP_SETGID", 7: "CAP_SETUID"}
"""What a runtime needs to give workers users of their own, to end them, and to remove what they leave."""

SET_BOUNDING: Final = 8
RAW_NETWORK: Final = 13
ADMINISTER_NETWORK: Final = 12
MOUNT: Final = 21


class Users(Struct, frozen=True):
    """Numbers of users that nobody else on the host has, `first` to `last`."""

    first: int
    last: int

    @classmethod
    def ranges(cls, node: str) -> Iterator[Users]:
        """A hundred ranges, in the order that a node of this name tries them.

        Numbers from 65536 to 524287 are given to nobody by systemd and by the usual tools.
        """
        begin = zlib.crc32(node.encode())
        for number in range(begin, begin + _NODES):
            first = FIRST + USERS * (number % _NODES)
            yield cls(first, first + USERS - 1)

    @classmethod
    def read(cls, text: str, *, at: str) -> Users:
        """Read `400000-400999`. Raises InvalidField."""
        low, dash, high = text.partition("-")
        if not (dash and low.isascii() and high.isascii() and low.isdigit() and high.isdigit()):
            raise InvalidField(at, "must be FIRST-LAST, two numbers of users, such as 400000-400999")
        first, last = int(low), int(high)
        if not 1 <= first <= last <= _HIGHEST:
            raise InvalidField(at, f"must be a range of users between 1 and {_HIGHEST}")
        return cls(first, last)

    def after(self, user: int) -> int:
        """The next one, round and round, so that a number is long unused before it means another worker."""
        return user + 1 if self.first <= user < self.last else self.first


class Claim:
    """A range that this process has for itself for as long as it lives, also beside nodes of the same name.

    An abstract UNIX socket stands for the range: the kernel gives each name to one holder in a network namespace, and
    frees it with them.
    """

    def __init__(self, node: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for users in Users.ranges(node):
            try:
                self._socket.bind(f"\0mmn-users-{users.first}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                self.users = users
                return
        raise InvalidField(
            "MMN_RUNTIME_WORKER_USERS", f"{_NODES} nodes run on this host: give this one a range of its own"
        )

    def close(self) -> None:
        """Let somebody else have it."""
        self._socket.close()


def capabilities() -> int:
    """The effective capabilities of this process, a bit for each."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def lacking(held: int) -> list[str]:
    """Names of the capabilities that a runtime with these lacks for workers with users of their own."""
    return [name for bit, name in NEEDED.items() if not held >> bit & 1]


def become(user: int | None, parent: int) -> None:
    """Give up every capability, and become another user if one is given. Raises OSError."""
    if capabilities() >> SET_BOUNDING & 1:
        kernel.drop_bounding_set(int(Path("/proc/sys/kernel/cap_last_cap").read_text()))
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        # The kernel forgets this with the change of user.
        kernel.die_with_parent(parent)
    kernel.drop_capabilities()
