"""Runs `mmn scenario NAME -o json` as a person does, and asserts every check with its figure."""

import json
from pathlib import Path
from typing import Any

from tests.kit.network import mmn, wait_until_gone


def played(name: str, folder: Path, *options: str, within: float = 170.0) -> dict[str, Any]:
    """Play a scenario in a folder of its own. Every check has to hold, and nothing may be left behind."""
    temporary = folder / "temporary"
    temporary.mkdir()
    ran = mmn("scenario", name, "-o", "json", *options, state=folder, within=within, TMPDIR=str(temporary))
    assert ran.out, ran.err
    told: dict[str, Any] = json.loads(ran.out)
    broken = [sentence(check) for check in told["checks"] if not check["ok"]]
    timeline = "\n".join(
        f"{mark['at']:8.3f} s {mark['kind']:8} {mark['lane']}: {mark['text']}" for mark in told["timeline"]
    )
    assert not broken, f"seed {told['seed']}: {'; '.join(broken)}\n{timeline}"
    assert ran.code == 0, ran.err
    assert told["ok"] is True
    wait_until_gone(temporary)
    assert list(temporary.iterdir()) == []
    return told


def sentence(check: dict[str, Any]) -> str:
    """A check with its figure and its bound."""
    return f"{check['name']}: measured {check['measured']} {check['unit']}, {check['must']} {check['bound']} ({check['note']})"


def named(told: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """The checks of a scenario whose name holds this text; at least one."""
    found = [check for check in told["checks"] if part in check["name"]]
    assert found, f"no check is named {part!r}: {[check['name'] for check in told['checks']]}"
    return found
