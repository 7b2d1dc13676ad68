"""The assembler: labels become distances, and what cannot be is refused."""

import pytest

from runtime.box.bpf import ALLOW, IF_EQUAL, KILL_PROCESS, NUMBER, Assembly, fail, packed
from tests.kit.bpf import judge, seccomp_data


def choosing(value: int) -> Assembly:
    asm = Assembly()
    asm.load(NUMBER)
    asm.branch(IF_EQUAL, value, yes="good")
    asm.verdict(KILL_PROCESS)
    asm.label("good")
    asm.verdict(ALLOW)
    return asm


def test_a_label_is_the_distance_to_it() -> None:
    assert choosing(7).program() == [(0x20, 0, 0, 0), (0x15, 1, 0, 7), (0x06, 0, 0, KILL_PROCESS), (0x06, 0, 0, ALLOW)]


def test_the_program_decides_as_written() -> None:
    program = choosing(7).program()
    assert judge(program, seccomp_data(7, audit=0)) == ALLOW
    assert judge(program, seccomp_data(8, audit=0)) == KILL_PROCESS


def test_a_place_that_is_missing_or_behind_is_refused() -> None:
    asm = Assembly()
    asm.jump("nowhere")
    asm.verdict(ALLOW)
    with pytest.raises(ValueError, match="nowhere, which is not ahead"):
        asm.program()
    back = Assembly()
    back.label("start")
    back.load(NUMBER)
    back.jump("start")
    with pytest.raises(ValueError, match="not ahead"):
        back.program()
    with pytest.raises(ValueError, match="two places"):
        back.label("start")


def test_a_comparison_reaches_255_instructions_and_a_jump_any_number() -> None:
    for far, add in ((True, "jump"), (False, "branch")):
        asm = Assembly()
        asm.jump("end") if add == "jump" else asm.branch(IF_EQUAL, 1, yes="end")
        for _ in range(256):
            asm.load(NUMBER)
        asm.label("end")
        asm.verdict(ALLOW)
        if far:
            assert asm.program()[0] == (0x05, 0, 0, 256)
        else:
            with pytest.raises(ValueError, match="further than 255"):
                asm.program()


def test_an_instruction_is_eight_bytes_and_an_errno_a_verdict() -> None:
    assert packed([(0x06, 0, 0, fail(1))]) == b"\x06\x00\x00\x00\x01\x00\x05\x00"
