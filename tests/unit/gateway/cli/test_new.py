from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from contracts.functions import read_manifest
from gateway.cli import new
from gateway.cli.exits import Exit, Stop


def test_the_bundle_holds_together(tmp_path: Path) -> None:
    folder = new.write("my-probe", tmp_path / "my-probe")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "my-probe"
    assert project["entry-points"]["mmn.functions"] == {"my-probe": "my_probe:measure"}
    assert read_manifest((folder / "my_probe" / "function.toml").read_bytes()).self_test == {"count": 1}
    tree = ast.parse((folder / "my_probe" / "__init__.py").read_text())
    assert "measure" in {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    assert (folder / "tests" / "test_my_probe.py").is_file()


def test_no_placeholder_is_left(tmp_path: Path) -> None:
    folder = new.write("x", tmp_path / "x")
    for path in folder.rglob("*.*"):
        if path.is_file():
            assert "$" not in path.read_text()


@pytest.mark.parametrize(
    "name", ["My-Probe", "1probe", "probe!", "", "../probe", "a" * 64, "runtime", "json", "import", "asyncio"]
)
def test_a_bad_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="NAME") as stopped:
        new.write(name, tmp_path / "there")
    assert stopped.value.code is Exit.BAD_INPUT
    assert not (tmp_path / "there").exists()


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(Stop, match="exists"):
        new.write("my-probe", tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []
