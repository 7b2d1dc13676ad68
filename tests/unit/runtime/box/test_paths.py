"""What every worker may read, and nothing beside it."""

from pathlib import Path

import pytest

from runtime.box import paths


def test_the_project_is_not_readable_as_a_whole() -> None:
    root = Path(paths.__file__).resolve().parents[2]
    found = {Path(path) for path in paths.readable()}
    assert {root / "runtime", root / "contracts"} <= found
    assert root not in found
    assert not found & {
        Path("/"),
        Path("/etc"),
        Path("/home"),
        Path("/root"),
        Path("/proc"),
        Path("/usr"),
        Path("/var"),
    }


def test_a_file_written_anew_has_another_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, other = tmp_path / "names", tmp_path / "other"
    names.write_text("a")
    monkeypatch.setattr(paths, "NAMES", (str(names), str(tmp_path / "missing")))
    before = paths.identities()
    assert before[1] is None
    names.write_text("b")
    assert paths.identities() == before
    other.write_text("c")
    other.rename(names)
    assert paths.identities() != before
