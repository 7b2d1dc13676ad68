"""`mmn new`: a function bundle that works, to be changed into the one that is wanted."""

from __future__ import annotations

import keyword
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from contracts.errors import InvalidField
from contracts.functions import check_name
from gateway.cli import render
from gateway.cli.exits import Exit, Stop

SUMMARY = "How late timers fire on a node."
_TAKEN = frozenset({"contracts", "runtime", "anchor", "gateway", "functions", "tests"})


def new(
    name: Annotated[str, typer.Argument(help="The function's name: lower-case letters, digits, hyphens.")],
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Where to put it. Default: a folder of that name here.", show_default=False),
    ] = None,
    _output: render.Output = None,
) -> None:
    """Write a new function bundle that works as it is.

    Examples:
        mmn new my-probe && mmn deploy my-probe && mmn run my-probe count=3
    """
    made = write(name, folder or Path(name))
    if render.json_wanted():
        render.dump({"name": name, "folder": str(made.resolve())})
    render.note(f"{made} holds the function {name}; next: mmn deploy {made}")


def write(name: str, folder: Path) -> Path:
    """Write the bundle. Raises Stop for a bad name or a folder that exists."""
    package = package_of(name)
    if folder.exists():
        raise Stop(Exit.BAD_INPUT, "already there", f"{folder} exists; choose another name or --dir")
    title = "".join(part.capitalize() for part in package.split("_"))
    words = {"name": name, "package": package, "title": title, "summary": SUMMARY}
    targets = {
        "pyproject.toml": folder / "pyproject.toml",
        "README.md": folder / "README.md",
        "package.py": folder / package / "__init__.py",
        "function.toml": folder / package / "function.toml",
        "test.py": folder / "tests" / f"test_{package}.py",
    }
    template = files("gateway.cli") / "template"
    try:
        for source, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            text = (template / f"{source}.tmpl").read_text(encoding="utf-8")
            target.write_text(Template(text).substitute(words), encoding="utf-8")
    except OSError as error:
        raise Stop(Exit.BAD_INPUT, "cannot write the bundle", f"{error.filename}: {error.strerror}") from error
    return folder


def package_of(name: str) -> str:
    """The import name of a function. Raises Stop for names that a bundle cannot have."""
    try:
        check_name(name, at="NAME")
    except InvalidField as error:
        raise Stop(Exit.BAD_INPUT, "bad name", error.message) from error
    package = name.replace("-", "_").strip("_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        raise Stop(Exit.BAD_INPUT, "bad name", f"NAME: {name} would hide Python's or mmn's own module {package}")
    return package
