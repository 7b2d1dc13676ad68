"""The bundle that functions/README.md shows must work as it is printed."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from runtime.sdk.__main__ import MEASURED, main

FUNCTIONS = Path(__file__).resolve().parents[4] / "functions"
README = (FUNCTIONS / "README.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`tcp-connect/(?P<name>[^`]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for file in FILE.finditer(README):
        path = tmp_path / file["name"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(file["text"])
    return tmp_path


def test_the_printed_bundle_measures(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_address: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    assert main(["run", str(folder), '{"target": "127.0.0.1", "port": 1}']) == MEASURED
    assert json.loads(capsys.readouterr().out)["failure"]["code"] == "refused"


def test_every_bundle_is_in_the_table() -> None:
    bundles = {path.parent.name for path in FUNCTIONS.glob("*/pyproject.toml")}
    assert set(re.findall(r"^\| \[([a-z0-9-]+)\]", README, re.MULTILINE)) == bundles
