"""The kernel's judgement of a system call, by a machine for classic BPF of a few lines."""

import struct
from collections.abc import Sequence

from runtime.box.bpf import Program

_WORD = struct.Struct("<I")


def seccomp_data(number: int, arguments: Sequence[int] = (), *, audit: int) -> bytes:
    """`struct seccomp_data` of a call."""
    filled = [argument & (1 << 64) - 1 for argument in [*arguments, 0, 0, 0, 0, 0, 0][:6]]
    return struct.pack("<IIQ6Q", number & 0xFFFFFFFF, audit, 0, *filled)


def judge(program: Program, data: bytes) -> int:
    """Run a program. Returns its verdict."""
    taken = at = 0
    for _ in range(len(program)):
        code, yes, no, operand = program[at]
        at += 1
        match code:
            case 0x20:
                (taken,) = _WORD.unpack_from(data, operand)
            case 0x54:
                taken &= operand
            case 0x05:
                at += operand
            case 0x15:
                at += yes if taken == operand else no
            case 0x35:
                at += yes if taken >= operand else no
            case 0x45:
                at += yes if taken & operand else no
            case 0x06:
                return operand
            case _:
                raise AssertionError(f"not an instruction of these filters: {code:#x}")
    raise AssertionError("the program does not end")
