"""The kernel and libc calls that Python does not offer. Each raises OSError when it fails."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
from collections.abc import Generator

RULE_PATH = 1
RULE_PORT = 2
NEW_MOUNTS = 0x00020000

MOUNT_READ_ONLY = 1
MOUNT_NO_SETUID = 2
MOUNT_NO_DEVICES = 4
MOUNT_AGAIN = 32
MOUNT_BIND = 4096
MOUNT_ALL_BELOW = 16384
MOUNT_PRIVATE = 1 << 18

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_M_ARENA_MAX = -8
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION = 1
_SECCOMP_SET_MODE_FILTER, _SECCOMP_ALL_THREADS = 1, 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, value: int | bytes) -> None:
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    _checked(_libc.prctl(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends. Leaves at once if that has happened already.

    The kernel watches the parent's thread that forked, so a parent forks from its main thread.
    A change of user clears this: do it again afterwards.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def no_new_privileges() -> None:
    """From here on no program started by this process gains rights by set-uid or file capabilities."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def open_to_own_user(*, yes: bool) -> None:
    """Whether other processes of the same user may look into this one's memory, environment and descriptors."""
    _prctl(_PR_SET_DUMPABLE, int(yes))


def name_process(name: str) -> None:
    """What `ps` shows as the command, 15 bytes at most."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def few_arenas() -> None:
    """Let malloc share two arenas: each one more would count 64 MB against the address space."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


# --- capabilities and users --------------------------------------------------------------------------------------


def drop_bounding_set(last: int) -> None:
    """Give up the bounding set, up to capability number `last`; needs CAP_SETPCAP."""
    for capability in range(last + 1):
        _prctl(_PR_CAPBSET_DROP, capability)


def drop_capabilities() -> None:
    """Give up every capability there is."""
    # Some kernels know no ambient set: then there is none to clear.
    _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_CAP_AMBIENT_CLEAR_ALL), *(ctypes.c_ulong(0),) * 3)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    _checked(_libc.capset(header, ctypes.create_string_buffer(bytes(24), 24)))


@contextlib.contextmanager
def files_as(user: int | None) -> Generator[None]:
    """What is opened in here belongs to another user, capabilities other than those over files being kept.

    A packet filter tells sockets apart by this.
    """
    before = None if user is None else _libc.setfsuid(ctypes.c_uint(user))
    try:
        yield
    finally:
        if before is not None:
            _libc.setfsuid(ctypes.c_uint(before))


# --- Landlock and seccomp ----------------------------------------------------------------------------------------


def landlock_abi() -> int:
    """The kernel's Landlock ABI, 0 without one."""
    found = _libc.syscall(
        ctypes.c_long(_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_LANDLOCK_VERSION)
    )
    return max(0, int(found))


def landlock_ruleset(attributes: bytes) -> int:
    """A descriptor of a new, empty ruleset."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    size = ctypes.c_size_t(len(attributes))
    return _checked(_libc.syscall(ctypes.c_long(_LANDLOCK_CREATE_RULESET), buffer, size, ctypes.c_uint(0)))


def landlock_rule(ruleset: int, kind: int, rule: bytes) -> None:
    """Add one rule, packed as its kind wants it."""
    buffer = ctypes.create_string_buffer(rule, len(rule))
    _checked(
        _libc.syscall(
            *(ctypes.c_long(_LANDLOCK_ADD_RULE), ctypes.c_int(ruleset), ctypes.c_int(kind), buffer, ctypes.c_uint(0))
        )
    )


def landlock_restrict(ruleset: int) -> None:
    """Put this thread and its later children under a ruleset; needs `no_new_privileges`."""
    _checked(_libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT_SELF), ctypes.c_int(ruleset), ctypes.c_uint(0)))


def filter_calls(seccomp: int, program: bytes) -> None:
    """Put all threads under a packed BPF program; `seccomp` is that call's number; needs `no_new_privileges`."""
    code = ctypes.create_string_buffer(program, len(program))
    descriptor = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    buffer = ctypes.create_string_buffer(descriptor, len(descriptor))
    mode, flags = ctypes.c_uint(_SECCOMP_SET_MODE_FILTER), ctypes.c_uint(_SECCOMP_ALL_THREADS)
    _checked(_libc.syscall(ctypes.c_long(seccomp), mode, flags, buffer))


# --- mounts ------------------------------------------------------------------------------------------------------


def own_mounts() -> None:
    """Leave for a mount namespace of one's own, from which nothing reaches the one before."""
    _checked(_libc.unshare(NEW_MOUNTS))
    mount("none", "/", flags=MOUNT_ALL_BELOW | MOUNT_PRIVATE)


def join_mounts(namespace: int) -> None:
    """Enter the mount namespace of a descriptor."""
    _checked(_libc.setns(namespace, NEW_MOUNTS))


def mount(source: str, target: str, kind: str = "", *, flags: int = 0, options: str = "") -> None:
    """Put a file system at a place of the file tree."""
    _checked(
        _libc.mount(source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode())
    )
