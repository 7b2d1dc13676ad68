from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from gateway.cli.__main__ import execute
from gateway.cli.exits import Exit


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMN_STATE", str(tmp_path))
    monkeypatch.delenv("MMN_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["--version"]) == Exit.OK
    assert capsys.readouterr().out == f"mmn {version('mmn')}\n"


COMMANDS = [
    "up",
    "demo",
    "scenario",
    "server-config",
    "new",
    "deploy",
    "functions",
    "run",
    "jobs",
    "watch",
    "modules",
    "login",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([command, "--help"]) == Exit.OK
    out = capsys.readouterr().out
    assert "Examples:" in out
    assert f"mmn {command}" in out


def test_an_unknown_option_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["modules", "--colour"]) == Exit.BAD_INPUT
    assert "--colour" in capsys.readouterr().err


def test_no_gateway_is_unavailable_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["modules"]) == Exit.UNAVAILABLE
    assert "mmn up" in capsys.readouterr().err


def test_errors_are_json_where_json_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["modules", "-o", "json"]) == Exit.UNAVAILABLE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert msgspec.json.decode(captured.err)["title"] == "no gateway is known"


def test_json_mode_does_not_outlive_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    execute(["modules", "-o", "json"])
    capsys.readouterr()
    execute(["modules"])
    assert capsys.readouterr().err.startswith("error: ")


def test_what_is_no_bundle_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["deploy", str(tmp_path / "nothing.whl"), "--url", "http://127.0.0.1:9"]) == Exit.BAD_INPUT
    assert "does not exist" in capsys.readouterr().err


def test_a_password_is_not_asked_for_where_nobody_can_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["login", "http://127.0.0.1:9"]) == Exit.BAD_INPUT
    assert "--password-stdin" in capsys.readouterr().err
