"""The folders that workers write to: made, measured and removed. What is in them is hostile, and may change meanwhile."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final

MOST_ENTRIES: Final = 10_000
MOST_UNSEEN: Final = 4
"""Files that have neither a name nor a descriptor, only a mapping, so that nobody can tell how large they are."""

_BLOCK = 512
_DELETED = b" (deleted)"
_OF_MEMORY = (b"/memfd:", b"/dev/zero", b"/SYSV")
_IN_FLIGHT = b"scm_fds:"
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooMuch(Exception):
    """There is more than can be counted. The message says of what."""


def make(folder: Path, user: int | None) -> None:
    """Make the folder of one worker, which nobody else may enter. Raises OSError."""
    folder.mkdir(mode=0o700)
    if user is not None:
        os.chown(folder, user, user)


def used(folder: Path, pid: int) -> int:
    """Bytes on disk that a worker uses, with those of files that it deleted and holds open. Raises TooMuch.

    Also when it hides what it holds: descriptors in a socket's queue, or more than `MOST_UNSEEN` mapped files.
    """
    sizes = _unlinked(pid)
    unseen = len(_mapped(pid, folder) - sizes.keys())
    if unseen > MOST_UNSEEN:
        raise TooMuch(f"{unseen} deleted files that it has mapped and closed")
    return _below(folder) + sum(sizes.values())


def _below(folder: Path) -> int:
    total = entries = 0
    waiting = [folder]
    try:
        while waiting:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    entries += 1
                    if entries > MOST_ENTRIES:
                        raise TooMuch(f"more than {MOST_ENTRIES} files")
                    total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
    except (FileNotFoundError, NotADirectoryError):
        # It was removed while it was looked at. The next look will tell.
        return total
    except OSError as error:
        raise TooMuch(f"a folder that cannot be read: {(error.strerror or '').lower()}") from error
    return total


def _unlinked(pid: int) -> dict[tuple[int, int], int]:
    """Bytes of each file without a name that a process holds open."""
    sizes: dict[tuple[int, int], int] = {}
    try:
        held = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        # It has ended, or its descriptors are not ours to see.
        return sizes
    for entry in held:
        try:
            found = entry.stat()
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                sizes[found.st_dev, found.st_ino] = found.st_blocks * _BLOCK
            elif stat.S_ISSOCK(found.st_mode) and _carries_descriptors(pid, entry.name):
                raise TooMuch("files that it has sent into a socket of its own")
        except OSError:
            continue
    return sizes


def _carries_descriptors(pid: int, number: str) -> bool:
    told = Path(f"/proc/{pid}/fdinfo/{number}").read_bytes().partition(_IN_FLIGHT)[2].split()
    return bool(told) and told[0] != b"0"


def _mapped(pid: int, folder: Path) -> set[tuple[int, int]]:
    """Files without a name that a process has mapped, of its own folder and of memory alone.

    Libraries that an upgrade of the host has replaced have no name either.
    """
    try:
        maps = Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return set()
    own = (os.fsencode(folder) + b"/", *_OF_MEMORY)
    found: set[tuple[int, int]] = set()
    for line in maps.splitlines() if _DELETED in maps else ():
        fields = line.split(maxsplit=5)
        if line.endswith(_DELETED) and fields[5].startswith(own):
            major, _, minor = fields[3].partition(b":")
            found.add((os.makedev(int(major, 16), int(minor, 16)), int(fields[4])))
    return found


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, however deep, as far as that is allowed.

    By descriptors, never by a path: whoever still writes to it cannot turn this against what is elsewhere.
    """
    with contextlib.suppress(OSError), _opened(str(folder), None) as top:
        # Every folder within is first moved to the top, under a short name, so that nothing recurses.
        waiting: list[str] = []
        emptied: list[str] = []
        _empty(top, top, waiting)
        while waiting:
            name = waiting.pop()
            emptied.append(name)
            with contextlib.suppress(OSError), _opened(name, top) as current:
                _empty(current, top, waiting)
        for name in emptied:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=top)
        folder.rmdir()


@contextlib.contextmanager
def _opened(name: str, above: int | None) -> Generator[int]:
    """A folder, whatever its mode was. Raises OSError, also for a link."""
    held = os.open(name, os.O_PATH | _FOLDER, dir_fd=above)
    try:
        Path(f"/proc/self/fd/{held}").chmod(0o700)
        descriptor = os.open(".", os.O_RDONLY | _FOLDER, dir_fd=held)
    finally:
        os.close(held)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _empty(current: int, top: int, waiting: list[str]) -> None:
    """Remove the files of one folder, and move its folders to the top."""
    with os.scandir(current) as found:
        entries = list(found)
    for entry in entries:
        with contextlib.suppress(OSError):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=current)
                continue
            # A name that cannot have been taken in advance.
            name = f".{secrets.token_hex(16)}"
            os.rename(entry.name, name, src_dir_fd=current, dst_dir_fd=top)
            waiting.append(name)
