"""What people see: tables and lines for a terminal, JSON for programs (`-o json`).

Results go to standard output, all else to standard error, so that output can be piped.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from enum import StrEnum
from functools import cache
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.cli.exits import Stop

_LONG_LIST = 200
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


format_in_use: ContextVar[Format] = ContextVar("format_in_use", default=Format.TABLE)


def _chosen(chosen: Format | None) -> Format | None:
    if chosen is not None:
        format_in_use.set(chosen)
    return chosen


Output = Annotated[
    Format | None,
    typer.Option("-o", "--output", help="How to print: table (default) or json.", callback=_chosen, show_default=False),
]
"""The option `-o`; what was chosen is in `format_in_use`, for errors too."""


def json_wanted() -> bool:
    """Say whether this command prints for programs."""
    return format_in_use.get() is Format.JSON


def stdout() -> Console:
    """Where results go. Piped, a table is as wide as it needs to be."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240, soft_wrap=True)


@cache
def stderr() -> Console:
    """Where progress, hints and errors go: one console, so that lines and a moving status do not mix."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """A line for people, on standard error; left out in JSON mode."""
    if not json_wanted():
        stderr().print(escape(text))


def dump(value: Any) -> None:
    """Print a value as JSON on standard output."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def failure(stop: Stop) -> None:
    """Print why a command ends, in the gateway's own words where they are its."""
    if json_wanted():
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
            msgspec.json.encode(stop.problem).decode()
        )
        return
    status = stop.problem.get("status")
    # A status's phrase says less than the detail that follows it.
    text = stop.detail if status and stop.detail else str(stop)
    stderr().print(f"[bold red]error:[/] {escape(text)}")
    after = stop.problem.get("retry_after")
    if isinstance(after, int | float) and "try again in" not in text:
        stderr().print(f"try again in {after:g} s")


def manual(command: Callable[..., Any] | None) -> str:
    """A command's docstring as help, in which the lines of the examples stay apart."""
    return (inspect.getdoc(command) or "").replace("\nExamples:\n", "\n\b\nExamples:\n")


Column = tuple[str, Callable[[Mapping[str, Any]], Any]]


def rows(items: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, empty: str) -> None:
    """Print a list as a table, or as the JSON it came as."""
    if json_wanted():
        dump(list(items))
        return
    if not items:
        note(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, _ in columns:
        table.add_column(name)
    for item in items:
        table.add_row(*(escape(text(cell(item))) for _, cell in columns))
    stdout().print(table)


def text(value: Any) -> str:
    """A value in a cell: nothing for None, words for the rest."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value) or "-"
    return str(value)


def duration(nanoseconds: float | None) -> str:
    """Nanoseconds in the unit people read best."""
    if nanoseconds is None:
        return "-"
    for size, unit in _UNITS:
        if abs(nanoseconds) >= size:
            return f"{nanoseconds / size:.3f} {unit}"
    return f"{nanoseconds:.0f} ns"


def named(name: str, value: Any) -> tuple[str, str]:
    """A field's name and value for people: `rtt_ns` 1500000 is `rtt` 1.500 ms."""
    if name.endswith("_ns") and (value is None or isinstance(value, int | float)):
        return name.removesuffix("_ns").replace("_", " "), duration(value)
    if name.endswith("_ms") and isinstance(value, int | float):
        return name.removesuffix("_ms").replace("_", " "), f"{text(value)} ms"
    if name.endswith("_ratio") and isinstance(value, int | float):
        return name.removesuffix("_ratio").replace("_", " "), f"{value * 100:.4g} %"
    return name.replace("_", " "), text(value)


def result(told: Mapping[str, Any]) -> None:
    """Print a job's result: where and when, what failed, then the function's own report."""
    if json_wanted():
        dump(told)
        return
    console = stdout()
    where = f" on {told['node']}" if told.get("node") else ""
    target, address = told.get("target"), told.get("address")
    what = f" {target}" if target else ""
    if address and address != target:
        what += f" ({address})"
    took = f", {duration(told.get('duration_ns'))}" if told.get("duration_ns") is not None else ""
    console.print(f"[bold]{escape(str(told['function']))}[/]{escape(what + where + took)}")
    if failed := told.get("failure"):
        stage = f" at {failed['stage']}" if failed.get("stage") else ""
        detail = f": {failed['detail']}" if failed.get("detail") else ""
        blame = f" (blame: {failed.get('blame')})"
        console.print(f"[yellow]{escape(str(failed.get('code')))}[/]{escape(blame + stage + detail)}")
    if data := told.get("data"):
        report(console, data)


def report(console: Console, data: Mapping[str, Any]) -> None:
    """Print any report: lists of records as tables, groups of values as a line each, the rest in one line."""
    groups: dict[str, list[tuple[str, str]]] = {"": []}
    for name, value in data.items():
        if _is_records(value):
            console.print(_records(name, value))
        elif isinstance(value, Mapping):
            groups[name.replace("_", " ")] = [named(str(key), item) for key, item in value.items()]
        else:
            groups[""].append(named(name, value))
    for name, values in groups.items():
        if values:
            told = "[dim], [/]".join(f"[dim]{escape(key)}[/] {escape(value)}" for key, value in values)
            console.print(f"[bold]{escape(name)}[/]: {told}" if name else told)


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _says_nothing(value: Any) -> bool:
    # By identity, since 0 equals False and a first packet has the number 0.
    return value is None or value is False or value in ("", [], {})


def _records(name: str, items: Sequence[Mapping[str, Any]]) -> Table:
    """A table of the fields that say something in at least one record."""
    keys = dict.fromkeys(key for item in items for key in item)
    told = [key for key in keys if not all(_says_nothing(item.get(key)) for item in items)]
    shown = items[:_LONG_LIST]
    caption = f"the first {_LONG_LIST} of {len(items)}; all of them: -o json" if len(items) > len(shown) else None
    table = Table(box=None, pad_edge=False, header_style="bold", title=name, title_justify="left", caption=caption)
    for key in told:
        table.add_column(named(key, None)[0], justify="right" if key.endswith("_ns") else "left")
    for item in shown:
        table.add_row(*(escape(named(key, item.get(key))[1]) for key in told))
    return table


def event(told: Mapping[str, Any]) -> str:
    """A progress event in one line: its kind first, then what it tells."""
    kind = next((str(told[key]) for key in ("kind", "event", "type") if key in told), "")
    rest = [f"{key}={value}" for key, value in (named(name, item) for name, item in told.items()) if value != kind]
    return " ".join([kind, *rest]).strip()
