"""An assembler for classic BPF with labels, as much of it as a system-call filter needs.

A program is a list of instructions (code, jump if true, jump if false, operand) over `struct
seccomp_data`: number, architecture, instruction pointer, six arguments of 64 bits (linux/seccomp.h).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

LOAD: Final = 0x20
JUMP: Final = 0x05
IF_EQUAL: Final = 0x15
IF_AT_LEAST: Final = 0x35
IF_ANY_BIT: Final = 0x45
KEEP_BITS: Final = 0x54
RETURN: Final = 0x06

NUMBER: Final = 0
ARCHITECTURE: Final = 4

ALLOW: Final = 0x7FFF0000
KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000
_FURTHEST: Final = 255
_LONGEST: Final = 4096

Program = list[tuple[int, int, int, int]]
_INSTRUCTION = struct.Struct("=HBBI")


def argument(index: int) -> int:
    """Where the low half of an argument lies. The kernel reads no more of a number of type int."""
    return 16 + 8 * index


def fail(number: int) -> int:
    """The verdict: the call is not made, and its caller gets this errno."""
    return _ERRNO | number


class _Line(NamedTuple):
    code: int
    operand: int
    yes: str
    no: str


class Assembly:
    """Collects instructions. A label stands for the next one added; an empty label for the next line."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._labels: dict[str, int] = {}
        self._made = 0

    def label(self, name: str) -> None:
        """Name the place that follows."""
        if name in self._labels:
            raise ValueError(f"two places are named {name}")
        self._labels[name] = len(self._lines)

    def new_label(self) -> str:
        """A name that is not used yet, for a place to come."""
        self._made += 1
        return f"_{self._made}"

    def load(self, offset: int) -> None:
        """Take 32 bits of the call's data."""
        self._lines.append(_Line(LOAD, offset, "", ""))

    def keep_bits(self, mask: int) -> None:
        """Clear all other bits of what was taken."""
        self._lines.append(_Line(KEEP_BITS, mask, "", ""))

    def branch(self, code: int, operand: int, *, yes: str = "", no: str = "") -> None:
        """Compare what was taken with the operand and go on at one of two places."""
        self._lines.append(_Line(code, operand, yes, no))

    def jump(self, label: str) -> None:
        """Go on elsewhere, however far."""
        self._lines.append(_Line(JUMP, 0, label, ""))

    def verdict(self, value: int) -> None:
        """End here."""
        self._lines.append(_Line(RETURN, value, "", ""))

    def program(self) -> Program:
        """Resolve the labels. Raises ValueError when a place does not exist or is too far away."""
        if len(self._lines) > _LONGEST:
            raise ValueError(f"{len(self._lines)} instructions, more than the kernel takes")
        made: Program = []
        for index, line in enumerate(self._lines):
            if line.code == JUMP:
                made.append((JUMP, 0, 0, self._distance(index, line.yes)))
                continue
            yes, no = self._distance(index, line.yes), self._distance(index, line.no)
            if max(yes, no) > _FURTHEST:
                raise ValueError(f"instruction {index} jumps further than {_FURTHEST}")
            made.append((line.code, yes, no, line.operand))
        return made

    def _distance(self, index: int, label: str) -> int:
        if not label:
            return 0
        distance = self._labels[label] - index - 1 if label in self._labels else -1
        if not 0 <= distance <= len(self._lines) - index - 2:
            raise ValueError(f"instruction {index} jumps to {label}, which is not ahead of it")
        return distance


def packed(program: Program) -> bytes:
    """The program as the kernel takes it."""
    return b"".join(_INSTRUCTION.pack(*line) for line in program)
