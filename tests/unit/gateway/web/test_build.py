import json
import re
import subprocess
from pathlib import Path

import pytest

from gateway.web import build

LOCK = json.loads((build.WEB / "package-lock.json").read_text())
ROOT = build.WEB.parents[1]


def test_the_lock_has_a_hash_for_each_package_and_names_no_registry() -> None:
    packages = {name: told for name, told in LOCK["packages"].items() if name}
    assert packages
    assert not [name for name, told in packages.items() if "resolved" in told or "integrity" not in told]
    assert not re.search(r"regist|npmjs", json.dumps(LOCK))


def test_the_lock_is_that_of_the_package_file() -> None:
    told = json.loads((build.WEB / "package.json").read_text())
    locked = LOCK["packages"][""]
    assert {name: told[name] for name in ("dependencies", "devDependencies")} == {
        name: locked[name] for name in ("dependencies", "devDependencies")
    }


def test_nothing_that_was_built_or_made_by_others_is_kept_in_git() -> None:
    git = ["git", "-C", str(ROOT)]
    kept = subprocess.run([*git, "ls-files", "gateway/web"], capture_output=True, text=True, check=False)
    if kept.returncode:
        pytest.skip("this is not a git checkout")
    suffixes = {Path(name).suffix for name in kept.stdout.split()}
    assert not [name for name in kept.stdout.split() if "/dist/" in name or "/node_modules/" in name]
    assert suffixes <= {".ts", ".tsx", ".css", ".svg", ".html", ".json", ".py", ".png", ""}


def test_a_changed_source_makes_the_page_out_of_date(tmp_path: Path) -> None:
    one, other = tmp_path / "a.ts", tmp_path / "b.ts"
    one.write_text("x")
    other.write_text("")
    before = build.key_of([one, other])
    one.write_text("")
    other.write_text("x")
    assert build.key_of([one, other]) != before
    assert build.WEB / "src" / "main.tsx" in build.sources()


def test_set_up_goes_on_without_the_page_and_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable() -> None:
        raise build.CannotBuild("npm-cli.js failed\ngetaddrinfo ENOTFOUND")

    monkeypatch.setattr(build, "DIST", tmp_path / "dist")
    monkeypatch.setattr(build, "MODULES", tmp_path / "node_modules")
    monkeypatch.setattr(build, "FAILED", tmp_path / "node_modules" / ".failed")
    monkeypatch.setattr(build, "install", unreachable)
    assert build.main(["setup"]) == 0
    assert "make web" in capsys.readouterr().err
    assert build.main(["setup"]) == 0
    assert not capsys.readouterr().err, "it is not tried again until the sources change"
    assert build.main(["build"]) == 1
    assert "ENOTFOUND" in capsys.readouterr().err
