"""What a worker prints."""

import os

from runtime.output import LINES_A_SECOND, LONGEST_LINE, Output


async def test_lines_are_cut_counted_and_kept() -> None:
    read, write = os.pipe()
    lines: list[str] = []
    output = Output(read, lines.append)
    os.write(write, b"one\ntw")
    output.read()
    assert lines == ["one"]
    os.write(write, b"o\n" + b"x" * (LONGEST_LINE + 10))
    output.read()
    assert lines == ["one", "two", "x" * LONGEST_LINE]
    os.write(write, b"\nend without a break \xff")
    os.close(write)
    output.read()
    output.read()
    assert lines[-1] == output.last == "end without a break �"


async def test_a_flood_is_read_and_dropped() -> None:
    read, write = os.pipe()
    lines: list[str] = []
    output = Output(read, lines.append)
    os.write(write, b"again\n" * 1000)
    output.read()
    assert len(lines) == LINES_A_SECOND + 1
    assert "dropped" in lines[-1]
    output.close()
    output.close()
    os.close(write)
