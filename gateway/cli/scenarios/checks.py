"""What a scenario has to show: a measured figure beside its bound, and the verdict over all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from rich.markup import escape
from rich.table import Table

Must = Literal["at most", "at least", "exactly", "shown"]


class Check(Struct, frozen=True, kw_only=True):
    """One figure. `bound` is None when the figure is only shown; `note` says what people should know of it."""

    name: str
    measured: float | None
    must: Must
    bound: float | None
    unit: str
    ok: bool
    note: str = ""


def judge(name: str, measured: float, must: Must, bound: float | None, unit: str, *, note: str = "") -> Check:
    """Compare a figure with its bound. One that could not be measured (infinite) holds none."""
    known = math.isfinite(measured)
    if must == "shown" or bound is None:
        holds = True
    elif must == "exactly":
        holds = measured == bound
    else:
        holds = measured <= bound if must == "at most" else measured >= bound
    return Check(
        name=name,
        measured=round(measured, 4) if known else None,
        must=must,
        bound=bound,
        unit=unit,
        ok=holds and (known or must == "shown"),
        note=note,
    )


def holds(checks: Sequence[Check]) -> bool:
    """Whether every check holds, and there is one at all."""
    return any(check.must != "shown" for check in checks) and all(check.ok for check in checks)


def verdict(name: str, checks: Sequence[Check]) -> str:
    """The last line of a scenario."""
    judged = [check for check in checks if check.must != "shown"]
    broken = [check.name for check in checks if not check.ok]
    if broken:
        return f"{name}: {len(broken)} of {len(judged)} checks do not hold: {'; '.join(broken)}"
    return f"{name}: all {len(judged)} checks hold" if judged else f"{name}: nothing was checked"


class Side(Struct, frozen=True, kw_only=True):
    """Figures side by side: a table of its own beside the checks. Cells are text; `rows` are as wide as `columns`."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def table(self) -> Table:
        """As a terminal shows it."""
        made = Table(box=None, pad_edge=False, header_style="bold", title=self.title, title_justify="left")
        for column in self.columns:
            made.add_column(escape(column))
        for row in self.rows:
            made.add_row(*map(escape, row))
        return made


def table(checks: Sequence[Check]) -> Table:
    """What was measured, beside what it had to be."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in (
        ("check", "left"),
        ("measured", "right"),
        ("bound", "left"),
        ("", "left"),
        ("note", "left"),
    ):
        made.add_column(column, justify="right" if justify == "right" else "left")
    for check in checks:
        sign = "" if check.must == "shown" and check.ok else "[green]ok[/]" if check.ok else "[bold red]FAILED[/]"
        bound = "" if check.bound is None else f"{check.must} {figure(check.bound, check.unit)}"
        made.add_row(escape(check.name), figure(check.measured, check.unit), bound, sign, escape(check.note))
    return made


def figure(value: float | None, unit: str) -> str:
    """A value with its unit, as short as it is exact enough."""
    if value is None:
        return "-"
    text = f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()
