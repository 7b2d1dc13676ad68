"""The tables, against numbers that are well known and against the kernel's own headers where they are."""

import re
from pathlib import Path

import pytest

from runtime.box.seccomp import ABSENT, METADATA, REFUSED, SERVING
from runtime.box.syscalls import AUDIT, NAMES, NEWEST, NUMBERS, Architecture, architecture

HEADERS: dict[Architecture, str] = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}


@pytest.mark.parametrize(
    ("arch", "known"),
    [
        ("x86_64", {"socket": 41, "clone": 56, "execve": 59, "kill": 62, "ptrace": 101, "mount": 165, "seccomp": 317}),
        ("aarch64", {"socket": 198, "clone": 220, "execve": 221, "kill": 129, "ptrace": 117, "mount": 40}),
    ],
)
def test_well_known_numbers(arch: Architecture, known: dict[str, int]) -> None:
    assert {name: NUMBERS[arch][name] for name in known} == known


@pytest.mark.parametrize("arch", NUMBERS)
def test_numbers_are_unique_and_at_most_the_newest(arch: Architecture) -> None:
    numbers = list(NUMBERS[arch].values())
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) == NEWEST


@pytest.mark.parametrize("arch", NUMBERS)
def test_numbers_from_424_on_are_the_same_everywhere(arch: Architecture) -> None:
    others = {name: number for table in NUMBERS.values() for name, number in table.items() if number >= 424}
    assert {name: number for name, number in NUMBERS[arch].items() if number >= 424} == others


@pytest.mark.parametrize("arch", HEADERS)
def test_the_tables_agree_with_the_headers_of_this_machine(arch: Architecture) -> None:
    header = Path(HEADERS[arch])
    text = header.read_text() if header.exists() else ""
    found = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\n", text)}
    differing = {name for name, number in found.items() if name in NAMES and NUMBERS[arch].get(name, number) != number}
    # Of these the generic table has a number for other architectures than this one.
    assert not differing


def test_whatever_the_filter_names_has_a_number_somewhere() -> None:
    named = {*REFUSED, *METADATA, *ABSENT, *SERVING}
    assert named <= NAMES
    assert len(REFUSED) == len(set(REFUSED))


def test_machines_are_recognised_or_said_to_be_unknown() -> None:
    assert architecture("x86_64") == "x86_64"
    assert architecture("arm64") == architecture("aarch64") == "aarch64"
    assert architecture("riscv64") is None
    assert AUDIT == {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
