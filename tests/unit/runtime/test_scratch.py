"""Folders full of surprises are counted within bounds, and removed whole."""

import ctypes
import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime import scratch


def test_what_is_on_disk_counts_once_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    scratch.make(folder, None)
    assert folder.stat().st_mode & 0o777 == 0o700
    before = scratch.used(folder, os.getpid())
    (folder / "a").mkdir()
    (folder / "a" / "file").write_bytes(b"x" * 300_000)
    assert scratch.used(folder, os.getpid()) - before >= 300_000


def test_deleted_files_that_are_held_open_count(tmp_path: Path) -> None:
    before = scratch.used(tmp_path, os.getpid())
    with (tmp_path / "gone").open("wb", buffering=0) as held:
        (tmp_path / "gone").unlink()
        held.write(b"x" * 300_000)
        assert scratch.used(tmp_path, os.getpid()) - before >= 300_000


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
PAGE = mmap.PAGESIZE


@contextmanager
def mapped_and_closed(*paths: Path) -> Iterator[None]:
    """Files of which nothing is left but a mapping. Python's own mappings keep a descriptor."""
    found: list[int] = []
    for path in paths:
        path.write_bytes(b"x" * PAGE)
        with path.open("rb") as file:
            found.append(LIBC.mmap(None, PAGE, mmap.PROT_READ, mmap.MAP_PRIVATE, file.fileno(), ctypes.c_long(0)))
        path.unlink()
    yield
    for address in found:
        LIBC.munmap(ctypes.c_void_p(address), PAGE)


def test_deleted_files_that_are_mapped_and_closed_are_too_much_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "MOST_UNSEEN", 2)
    with mapped_and_closed(tmp_path / "1", tmp_path / "2"):
        scratch.used(tmp_path, os.getpid())
        with mapped_and_closed(tmp_path / "3"), pytest.raises(scratch.TooMuch, match="3 deleted files"):
            scratch.used(tmp_path, os.getpid())
    with mapped_and_closed(*(tmp_path / str(number) for number in range(9))):
        # Those of others, such as libraries that were replaced, are not its fault.
        (tmp_path / "elsewhere").mkdir()
        scratch.used(tmp_path / "elsewhere", os.getpid())


def test_files_sent_into_a_socket_are_too_much(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "sent").open("wb") as file:
        scratch.used(tmp_path, os.getpid())
        socket.send_fds(ours, [b"x"], [file.fileno()])
        with pytest.raises(scratch.TooMuch, match="sent into a socket"):
            scratch.used(tmp_path, os.getpid())


def test_a_link_counts_as_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    assert scratch.used(tmp_path, os.getpid()) < 100_000


def test_too_many_files_are_not_counted_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "MOST_ENTRIES", 5)
    for number in range(7):
        (tmp_path / str(number)).touch()
    with pytest.raises(scratch.TooMuch, match="more than 5 files"):
        scratch.used(tmp_path, os.getpid())


def nest(folder: Path, depth: int) -> None:
    """Folders deeper than any path is long."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(depth):
            Path("d" * 20).mkdir()
            os.chdir("d" * 20)
        Path("bottom").write_text("x")
    finally:
        os.chdir(before)


def test_folders_deeper_than_a_path_may_be_are_too_much_and_can_be_removed(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    scratch.make(folder, None)
    nest(folder, 1500)
    with pytest.raises(scratch.TooMuch, match="too long"):
        scratch.used(folder, os.getpid())
    scratch.remove(folder)
    assert not folder.exists()


def test_what_links_lead_to_and_what_was_closed_is_treated_right(tmp_path: Path) -> None:
    folder, kept = tmp_path / "s", tmp_path / "kept"
    scratch.make(folder, None)
    kept.mkdir()
    (kept / "file").touch()
    (folder / "link").symlink_to(kept)
    (folder / "closed" / "in").mkdir(parents=True)
    (folder / "closed" / "in" / "file").touch()
    (folder / "closed" / "in").chmod(0)
    (folder / "closed").chmod(0)
    scratch.remove(folder)
    assert not folder.exists()
    assert (kept / "file").exists()
    scratch.remove(folder)


def test_what_changes_while_it_is_removed_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, kept = tmp_path / "s", tmp_path / "kept"
    kept.mkdir(mode=0o755)
    (kept / "file").touch()
    (folder / "a" / "b").mkdir(parents=True)
    real, swapped = os.rename, []

    def rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        """At the worst moment its owner puts a link where a folder is expected."""
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        real(target, "away", src_dir_fd=dst_dir_fd, dst_dir_fd=dst_dir_fd)
        os.symlink(kept, target, dir_fd=dst_dir_fd)
        swapped.append(target)

    with monkeypatch.context() as worst:
        worst.setattr(os, "rename", rename)
        scratch.remove(folder)
    assert swapped
    assert (kept / "file").exists()
    assert kept.stat().st_mode & 0o777 == 0o755
    scratch.remove(folder)
    assert not folder.exists()
