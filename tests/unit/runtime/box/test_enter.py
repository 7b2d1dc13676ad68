"""The box as the kernel sees it, read back in a forked child."""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.functions import Limits, Manifest
from runtime.box import Spec, enter


def boxed(scratch: Path, *, keep: tuple[int, ...] = (), looking: str = "") -> dict[str, Any]:
    """Enter the box in a child and report what it finds there."""
    read, write = os.pipe()
    output = os.open(scratch / "output", os.O_WRONLY | os.O_CREAT)
    stray = os.open("/etc/passwd", os.O_RDONLY)
    parent = os.getpid()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            spec = Spec.of(
                Manifest(summary="test", limits=Limits(memory_mb=256, concurrency=8)),
                name="mmn test",
                scratch=str(scratch),
                code=str(scratch),
                measures=(),
                user=None,
                bus_ports=(),
                bus_by_name=False,
            )
            reply, *kept = enter(spec, parent=parent, output=output, keep=(write, *keep), readable=())
            found = {
                "limits": Path("/proc/self/limits").read_text(),
                "status": Path("/proc/self/status").read_text(),
                "environment": dict(os.environ),
                "folder": str(Path.cwd()),
                "session": os.getsid(0) == os.getpid(),
                "open": [int(entry.name) for entry in Path("/proc/self/fd").iterdir()],
                "kept": kept,
            }
            os.write(1, b"printed\n")
            os.write(reply, json.dumps(found).encode())
            status = 0
        finally:
            os._exit(status)
    for descriptor in (write, output, stray):
        os.close(descriptor)
    with os.fdopen(read) as reader:
        text = reader.read()
    assert os.waitpid(pid, 0)[1] == 0, looking
    answer: dict[str, Any] = json.loads(text)
    return answer


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    return boxed(tmp_path)


def limit(found: dict[str, Any], name: str) -> list[str]:
    (line,) = [line for line in found["limits"].splitlines() if line.startswith(name)]
    return list(line.removeprefix(name).split()[:2])


def test_limits_are_set_and_cannot_be_raised_again(found: dict[str, Any]) -> None:
    assert limit(found, "Max core file size") == ["0", "0"]
    assert limit(found, "Max open files") == ["288", "288"]
    assert limit(found, "Max file size") == [str(64 << 20)] * 2
    assert limit(found, "Max address space") == [str(1280 << 20)] * 2


def test_no_new_privileges_and_a_session_of_its_own(found: dict[str, Any]) -> None:
    assert "NoNewPrivs:\t1" in found["status"]
    assert "Umask:\t0077" in found["status"]
    assert "Name:\tmmn test" in found["status"]
    assert found["session"]


def test_no_capability_is_left(found: dict[str, Any]) -> None:
    for kind in ("CapPrm", "CapEff", "CapAmb"):
        assert f"{kind}:\t{'0' * 16}" in found["status"]


def test_nothing_is_inherited_but_what_was_kept(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    found = boxed(tmp_path, keep=(theirs.fileno(),))
    assert found["environment"] == {}
    assert found["folder"] == str(tmp_path)
    assert found["kept"] == [4]
    # Five is the folder being listed.
    assert sorted(found["open"]) == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "output").read_text() == "printed\n"
    ours.close()
    theirs.close()
