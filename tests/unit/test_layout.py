"""The rules about files: small, named after what they hold, and opened by a sentence."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("contracts", "runtime", "anchor", "gateway", "functions")
SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "build", "dist"})
MEANINGLESS_NAMES = frozenset({"utils.py", "helpers.py", "util.py", "helper.py", "common.py", "misc.py"})

MOST_LINES = 400
MOST_LINES_OF_A_TEST = 500

# Path below the project -> why this one may be longer.
LONG_FILES: dict[str, str] = {}


def python_files(*folders: str) -> Iterator[Path]:
    """Walk our own Python files, leaving out what tools put between them."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT)
            if not any(part in SKIPPED_FOLDERS or part.startswith(".") for part in inside.parts):
                yield inside


def is_test(path: Path) -> bool:
    return "tests" in path.parts


SOURCES = [path for path in python_files(*SHIPPED) if not is_test(path)]
TESTS = [path for path in python_files(*SHIPPED, "tests") if is_test(path)]


def test_files_are_found() -> None:
    assert Path("contracts/subjects.py") in SOURCES
    assert Path("tests/conftest.py") in TESTS


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=str)
def test_a_file_is_short_or_listed_with_a_reason(path: Path) -> None:
    limit = MOST_LINES_OF_A_TEST if is_test(path) else MOST_LINES
    lines = len((ROOT / path).read_text().splitlines())
    assert lines <= limit or path.as_posix() in LONG_FILES, f"{path} has {lines} lines, more than {limit}"


def test_every_listed_long_file_is_still_long() -> None:
    for name, reason in LONG_FILES.items():
        assert reason
        path = Path(name)
        limit = MOST_LINES_OF_A_TEST if is_test(path) else MOST_LINES
        assert len((ROOT / path).read_text().splitlines()) > limit, f"{name} is short again: take it off the list"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_shipped_module_opens_with_a_docstring(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert docstring, f"{path} does not say what it is for"


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [str(path) for path in SOURCES if path.name in MEANINGLESS_NAMES]
