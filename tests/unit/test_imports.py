"""A bundle may import the standard library, itself, the author's SDK, and what its pyproject.toml names."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path.parent for path in (ROOT / "functions").glob("*/pyproject.toml"))
OURS = frozenset({"contracts", "runtime", "anchor", "gateway", "functions", "tests"})
SDK = "runtime.sdk"


def imported_modules(source: str) -> Iterator[str]:
    """Name every module that a source file imports from outside its own package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            yield from (f"{module}.{alias.name}" if module == "runtime" else module for alias in node.names)


def allowed_packages(bundle: Path) -> set[str]:
    """Name the import packages a bundle may use besides the standard library and the SDK."""
    project = tomllib.loads((bundle / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(text).name) for text in project.get("dependencies", [])}
    installed = packages_distributions()
    own = re.sub(r"[-.]+", "_", project["name"])
    meant = {
        package for package, names in installed.items() if declared.intersection(canonicalize_name(n) for n in names)
    }
    return (meant - OURS) | {own}


def forbidden_imports(bundle: Path) -> list[str]:
    """List what a bundle imports and may not, as `file: module`."""
    allowed = allowed_packages(bundle)
    found: list[str] = []
    for path in sorted(bundle.rglob("*.py")):
        inside = path.relative_to(bundle)
        if inside.parts[0] in {"tests", "build", "dist"} or inside.parts[0].startswith("."):
            continue
        for module in imported_modules(path.read_text()):
            top = module.partition(".")[0]
            is_sdk = module == SDK or module.startswith(f"{SDK}.")
            if not (is_sdk or top in sys.stdlib_module_names or top in allowed):
                found.append(f"{inside.as_posix()}: {module}")
    return found


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_imports_only_what_it_may(bundle: Path) -> None:
    assert not forbidden_imports(bundle)


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("import asyncio", False),
        ("import probe.wire", False),
        ("from .wire import parse", False),
        ("from runtime.sdk import Context", False),
        ("from runtime import sdk", False),
        ("import dns.resolver", False),
        ("import msgspec", True),
        ("import runtime", True),
        ("from runtime import agent", True),
        ("from runtime.agent import Agent", True),
        ("from contracts.subjects import invoke", True),
        ("def late():\n    import gateway", True),
        ("import latency_ping", True),
    ],
)
def test_the_rule_catches_what_it_must(tmp_path: Path, line: str, *, refused: bool) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "probe"\ndependencies = ["dnspython>=2"]\n')
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "__init__.py").write_text(line)
    assert bool(forbidden_imports(tmp_path)) == refused
