"""A timeline as text: a lane a line, what was done to it as signs, jobs a second as bars. Pure.

nats-server  ━━━━━━━━━━━━━━━━━✖┄●━━━━━━━━━
n1 nap #1    ━━━━━✖┄●━━━━━━━━━━━━━━━━━━━━━
nap jobs/s   ▃▄▄▄▃▄▄▄▄▄▄▄▄▄▄▄▄▂▁▅▄▄▄▄▄▄▄▄▄  most 61/s
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from gateway.cli.scenarios import figures
from gateway.cli.scenarios.timeline import Kind, Mark

SIGNS: Mapping[Kind, str] = {
    "start": "○",
    "ready": "●",
    "kill": "✖",
    "stop": "‖",
    "continue": "▶",
    "slow": "~",
    "gone": "∎",
    "shown": "!",
    "upload": "▲",
    "note": "◆",
}
COLOURS: Mapping[str, str] = {
    "●": "green",
    "✖": "bold red",
    "‖": "yellow",
    "╌": "yellow",
    "~": "yellow",
    "!": "bold cyan",
}
"""How a terminal sets signs apart."""
AFTER: Mapping[Kind, str] = {
    "start": "┄",
    "ready": "━",
    "kill": " ",
    "stop": "╌",
    "continue": "━",
    "slow": "~",
    "gone": " ",
}
"""How a lane goes on after a mark; a kind that is not here changes nothing."""
RANK: Sequence[Kind] = ("note", "start", "gone", "ready", "continue", "slow", "shown", "upload", "stop", "kill")
"""Of several marks in one place the last of these is drawn."""
_BARS = "▁▂▃▄▅▆▇█"
_LEGEND = "○ starts  ● serves  ✖ killed  ‖ stopped  ▶ continued  ~ slowed  ∎ ended  ! shown  ▲ uploaded"
_LEAST_WIDTH = 20
_TICK_COLUMNS = 8
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 3600, 86_400, 10**9)


def draw(marks: Sequence[Mark], served: Mapping[str, Sequence[float]], *, span: float, width: int = 100) -> list[str]:
    """The lines of a chart of `span` seconds that is `width` characters wide."""
    lanes = list(dict.fromkeys(mark.lane for mark in marks))
    names = [*lanes, *(f"{function} jobs/s" for function in served)]
    margin = max((len(name) for name in names), default=0) + 2
    columns = max(_LEAST_WIDTH, width - margin - 14)
    span = max(span, 0.001)
    lines = [" " * margin + axis(columns, span)]
    lines += [f"{lane:{margin}}{_lane([mark for mark in marks if mark.lane == lane], columns, span)}" for lane in lanes]
    for function, times in served.items():
        rates = figures.rates(times, columns, span)
        lines.append(f"{function + ' jobs/s':{margin}}{bars(rates)}  most {max(rates):.0f}/s")
    lines.append(" " * margin + _LEGEND)
    return [line.rstrip() for line in lines]


def told(marks: Iterable[Mark]) -> list[str]:
    """The marks that have something to tell, a line each."""
    return [f"{mark.at:7.2f} s  {SIGNS[mark.kind]} {mark.lane}: {mark.text}" for mark in marks if mark.text]


def axis(columns: int, span: float) -> str:
    """Whole seconds above the columns, as many as fit."""
    step = next(step for step in _STEPS if columns * step / span >= _TICK_COLUMNS)
    line = ""
    for second in range(0, int(span) + 1, step):
        line = line.ljust(int(second / span * columns)) + str(second)
    return f"{line} s"


def bars(values: Sequence[float]) -> str:
    """Values as bars, the largest one full; nothing is a blank, and the least is not."""
    most = max(values, default=0)
    if not most:
        return " " * len(values)
    return "".join(" " if not value else _BARS[max(0, math.ceil(value / most * len(_BARS)) - 1)] for value in values)


def bar(value: float, most: float, columns: int = 24) -> str:
    """A value as a bar that is full at `most`."""
    return "█" * max(1, round(value / most * columns)) if value > 0 and most > 0 else ""


def _lane(marks: Sequence[Mark], columns: int, span: float) -> str:
    line: list[str] = []
    state = " "
    by_column: dict[int, list[Mark]] = {}
    for mark in marks:
        by_column.setdefault(min(columns - 1, int(mark.at / span * columns)), []).append(mark)
    for column in range(columns):
        here = by_column.get(column, ())
        line.append(SIGNS[max(here, key=lambda mark: RANK.index(mark.kind)).kind] if here else state)
        for mark in here:
            state = AFTER.get(mark.kind, state)
    return "".join(line)
