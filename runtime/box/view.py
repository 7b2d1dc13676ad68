"""A view of the file system in which other users reach what workers need, and nothing beside it.

A runtime of root often lies below a folder that is closed to others, such as /root. In a mount namespace of the
zygote's own, an empty folder is laid over each closed one, and of what is below only the needed folders are put back.
Nothing of it is seen outside, and it is gone with the last worker.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from runtime.box import kernel

_SMALL = "mode=0755,size=1m"
_TO_OTHERS = stat.S_IXOTH


def closed_above(path: Path) -> Path | None:
    """The topmost folder above a path that others may not pass through."""
    for above in reversed(path.parents):
        if not above.stat().st_mode & _TO_OTHERS:
            return above
    return None


def covers(paths: Iterable[str]) -> dict[Path, list[Path]]:
    """The closed folders to be covered, each with what has to be put back below it."""
    found: defaultdict[Path, set[Path]] = defaultdict(set)
    for path in {Path(path).resolve() for path in paths}:
        if path.is_dir() and (above := closed_above(path)) is not None:
            found[above].add(path)
    return {cover: _outermost(below) for cover, below in found.items()}


def _outermost(paths: set[Path]) -> list[Path]:
    return sorted(path for path in paths if paths.isdisjoint(path.parents))


class View:
    """The changed view of this process, which has one thread. `leave` brings back the one before."""

    def __init__(self) -> None:
        self._before: int | None = None

    def enter(self, paths: Iterable[str]) -> None:
        """Open the way to these folders, if it is closed; needs CAP_SYS_ADMIN. Raises OSError."""
        wanted = covers(paths)
        if not wanted:
            return
        before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.own_mounts()
        except OSError:
            os.close(before)
            raise
        self._before = before
        for cover, below in wanted.items():
            _cover(cover, below)

    def leave(self) -> None:
        """Undo it."""
        if self._before is not None:
            kernel.join_mounts(self._before)
            self.keep()

    def keep(self) -> None:
        """It stays. The way back is forgotten, and no child inherits it."""
        if self._before is not None:
            os.close(self._before)
            self._before = None


def _cover(cover: Path, below: list[Path]) -> None:
    # Held open, since by name they cannot be found any more once they are covered.
    held = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in below]
    try:
        flags = kernel.MOUNT_NO_SETUID | kernel.MOUNT_NO_DEVICES
        kernel.mount("none", str(cover), "tmpfs", flags=flags, options=_SMALL)
        for path, descriptor in held:
            _make_folders(cover, path)
            kernel.mount(f"/proc/self/fd/{descriptor}", str(path), flags=kernel.MOUNT_BIND)
        again = kernel.MOUNT_AGAIN | kernel.MOUNT_BIND | kernel.MOUNT_READ_ONLY
        kernel.mount("none", str(cover), flags=flags | again)
    finally:
        for _, descriptor in held:
            os.close(descriptor)


def _make_folders(cover: Path, path: Path) -> None:
    place = cover
    for part in path.relative_to(cover).parts:
        place /= part
        if not place.is_dir():
            place.mkdir()
            place.chmod(0o755)
