"""From what a node can do to the level of its box, and what that leaves open, in words. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct, field

from runtime.box.landlock import PORTS_SINCE, SCOPES_SINCE

Level = Literal["B0", "B1", "B2", "B3", "B4"]
Measure = Literal["user", "landlock", "seccomp"]
MEASURES: Final[tuple[Measure, ...]] = ("user", "landlock", "seccomp")

_LEVELS: Final[MappingProxyType[frozenset[Measure], Level]] = MappingProxyType(
    {
        frozenset({"user", "landlock", "seccomp"}): "B0",
        frozenset({"landlock", "seccomp"}): "B1",
        frozenset({"user", "seccomp"}): "B2",
        frozenset({"user", "landlock"}): "B3",
    }
)
"""Whatever else holds is B4: each of these pairs closes what the third measure would have closed alone."""

WITHOUT: Final[MappingProxyType[Measure, str]] = MappingProxyType(
    {
        "user": "workers have the runtime's user, so resource limits of a user do not hold and egress cannot be enforced",
        "landlock": "without Landlock, files that everyone may read can be read, and every TCP port be reached",
        "seccomp": "without a filter of system calls, processes can be made, every kind of socket be opened and limits be evaded",
    }
)
"""What is open when a measure is missing."""

NO_PORTS: Final = "Landlock is older than ABI 4: every TCP port can be reached and bound"
NO_SCOPES: Final = "Landlock is older than ABI 6: abstract UNIX sockets and processes of the same user can be reached"
NO_LIMIT_OF_EGRESS: Final = "where packets go is not enforced: private and local addresses can be reached"
EXPOSED: Final = "files of the runtime, its keys among them, are open to workers"
METADATA: Final = "owners, modes and times of the runtime's files can be changed by workers"
NO_UDP_PORTS: Final = "UDP is allowed or refused as a whole: a worker with UDP can send to and bind every port"


class Found(Struct, frozen=True, kw_only=True):
    """What a node's probe found. `missing` has a reason for each measure that does not hold here."""

    abi: int = 0
    missing: dict[Measure, str] = field(default_factory=dict)

    @property
    def holds(self) -> frozenset[Measure]:
        """The measures that every worker is under."""
        return frozenset(measure for measure in MEASURES if measure not in self.missing)


NOTHING: Final = Found(missing=dict.fromkeys(MEASURES, "not looked at"))


def level(found: Found) -> Level:
    """B0, all of it, to B4, process limits alone."""
    return _LEVELS.get(found.holds, "B4")


def reaches(level: Level, minimum: Level) -> bool:
    """Whether a level is at least as strict as another."""
    return level <= minimum


def gaps(found: Found, *, egress: Literal["enforced", "advisory"], why: str = "") -> list[str]:
    """What a worker can do here that a full box would keep from it, and why. `why` is for egress."""
    said = [f"{WITHOUT[measure]} ({found.missing[measure]})" for measure in MEASURES if measure in found.missing]
    if "user" not in found.holds and not found.holds.issuperset({"landlock", "seccomp"}):
        said.append(METADATA if "landlock" in found.holds else EXPOSED)
    if "landlock" in found.holds:
        if found.abi < PORTS_SINCE:
            said.append(NO_PORTS)
        # A filter refuses every UNIX socket and every signal to another process by itself.
        if found.abi < SCOPES_SINCE and "seccomp" not in found.holds:
            said.append(NO_SCOPES)
    said.append(NO_UDP_PORTS)
    if egress == "advisory":
        said.append(f"{NO_LIMIT_OF_EGRESS} ({why})" if why else NO_LIMIT_OF_EGRESS)
    return said
