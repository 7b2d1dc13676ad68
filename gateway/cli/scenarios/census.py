"""What processes hold, from /proc: memory, descriptors, processor time; and who belongs to a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from contracts import clock
from contracts.heart import resident_bytes

_MIB = 1024 * 1024


class Processor(NamedTuple):
    """The processors of this machine so far: ticks, and for how long somebody waited for one."""

    busy: int
    total: int
    waited_us: int
    at_us: int


def processor() -> Processor:
    """All processors' time until now; nobody waits where the kernel does not tell of it."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    try:
        waited = int(Path("/proc/pressure/cpu").read_text().split()[4].removeprefix("total="))
    except (OSError, IndexError, ValueError):
        waited = 0
    return Processor(sum(fields) - fields[3] - fields[4], sum(fields), waited, clock.monotonic_ns() // 1000)


def busy_share(before: Processor, after: Processor) -> float:
    """How much of the processors' time between was used, 0 to 1."""
    passed = after.total - before.total
    return (after.busy - before.busy) / passed if passed else 0.0


def waiting_share(before: Processor, after: Processor) -> float:
    """For how much of the time between somebody waited for a processor, 0 to 1."""
    passed = after.at_us - before.at_us
    return (after.waited_us - before.waited_us) / passed if passed else 0.0


def memory_mib(pid: int) -> float | None:
    """Resident memory in MiB; None for a process that is gone."""
    found = resident_bytes(pid)
    return None if found is None else found / _MIB


def descriptors(pid: int) -> int | None:
    """How many files and sockets a process holds open; None for one that is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # counted, not walked
    except OSError:
        return None


def processes_of(folder: Path) -> dict[int, str]:
    """Every process that was started for a network: its folder is in their command, environment or folder."""
    needle = os.fsencode(folder)
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if not command:
                continue  # a zombie holds nothing any more
            traces = command + (entry / "environ").read_bytes() + os.fsencode((entry / "cwd").readlink())
        except OSError:
            continue
        if needle in traces:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be taken note of does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def age_s(pid: int) -> float:
    """Seconds since a process began; 0 for one that is gone."""
    try:
        began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        up = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return 0.0
    return up - began
