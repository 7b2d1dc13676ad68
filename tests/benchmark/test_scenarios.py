"""The long forms of the scenarios: the same stories with minutes in the place of seconds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.scenarios.catalogue import STORIES
from tests.kit.network import mmn

Report = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize("name", STORIES)
def test_long_form_of(name: str, tmp_path: Path, report: Report) -> None:
    ran = mmn("scenario", name, "--long", "-o", "json", state=tmp_path, within=1500.0)
    assert ran.out, ran.err
    told = json.loads(ran.out)
    figures = {check["name"]: figure(check) for check in told["checks"]}
    report({"seed": told["seed"], "every check holds": told["ok"], **figures})


def figure(check: dict[str, Any]) -> str:
    """A figure beside its bound."""
    text = f"{check['measured']} {check['unit']}".rstrip()
    return text if check["bound"] is None else f"{text} ({check['must']} {check['bound']})"
