from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import InvalidField
from runtime.sdk.folder import BundleFolder

PYPROJECT = """
[project]
name = "made-up"
version = "1.2.3"
[project.entry-points."mmn.functions"]
made-up = "made_up:measure"
"""


def write(path: Path, pyproject: str, manifest: str | None = 'summary = "x"') -> Path:
    (path / "pyproject.toml").write_text(pyproject)
    (path / "made_up").mkdir()
    if manifest is not None:
        (path / "made_up" / "function.toml").write_text(manifest)
    return path


def test_a_folder_says_what_it_is(tmp_path: Path) -> None:
    folder = BundleFolder.read(write(tmp_path, PYPROJECT))
    assert (folder.name, folder.version, folder.entry) == ("made-up", "1.2.3", "made_up:measure")
    assert folder.manifest.summary == "x"


@pytest.mark.parametrize(
    ("pyproject", "manifest", "message"),
    [
        ("[project", 'summary = "x"', "pyproject.toml"),
        ("[project]", 'summary = "x"', "exactly one entry point, not 0"),
        (PYPROJECT + 'second = "b:measure"\n', 'summary = "x"', "exactly one entry point, not 2"),
        (PYPROJECT.replace('name = "made-up"', 'name = "other"'), 'summary = "x"', "must be made-up"),
        (PYPROJECT.replace("1.2.3", "1.2"), 'summary = "x"', "MAJOR.MINOR.PATCH"),
        (PYPROJECT, None, "made_up/function.toml: is missing"),
        (PYPROJECT, "sumary = 1", "function.toml"),
    ],
)
def test_a_folder_that_breaks_a_rule_is_refused_with_the_rule(
    tmp_path: Path, pyproject: str, manifest: str | None, message: str
) -> None:
    with pytest.raises(InvalidField, match=message):
        BundleFolder.read(write(tmp_path, pyproject, manifest))


def test_a_folder_without_pyproject_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="not a bundle folder"):
        BundleFolder.read(tmp_path)
