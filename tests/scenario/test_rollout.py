"""Replacing a version from the command line: how it ends, with which exit code, and what is told afterwards."""

from pathlib import Path
from typing import Any

import pytest

from gateway.cli.exits import Exit
from tests.kit.network import RunningNetwork
from tests.kit.rollouts import FAULTY, echo, measuring

pytestmark = pytest.mark.timeout(240)


def wheel(folder: Path, version: str, code: str = "") -> str:
    """A version of echo as a file."""
    path = folder / f"echo-{version}-py3-none-any.whl"
    path.write_bytes(echo(version, extra=code))
    return str(path)


def test_deploy_tells_how_a_rollout_ended_and_rollback_goes_back(own_network: RunningNetwork, tmp_path: Path) -> None:
    mmn = own_network.mmn
    broken = measuring("raise ValueError('of no use')")
    ran = mmn("deploy", wheel(tmp_path, "1.1.0", broken), within=120)
    assert (ran.code, ran.out) == (Exit.NOT_MEASURED, "")
    assert "echo 1.1.0 was rolled back: " in ran.err
    assert "self-test: ValueError: of no use" in ran.err
    assert mmn("run", "echo", "-o", "json").json()["version"] == "1.0.0"

    told = mmn("deploy", wheel(tmp_path, "1.2.0"), "--canary", "50", "--hold", "0.5", "-o", "json", within=120).json()
    assert (told["deployment"]["version"], told["rollout"]["what"]) == ("1.2.0", "promoted")
    assert [node["state"] for node in told["nodes"]] == ["ready"]

    assert mmn("deploy", wheel(tmp_path, "1.3.0"), "--hold", "600", "--no-wait").code == Exit.OK
    listed = mmn("functions", "-o", "json").json()
    assert listed[0]["deployment"]["rollout"]["version"] == "1.3.0"
    assert mmn("functions", "rollback", "echo").code == Exit.OK
    again = mmn("functions", "rollback", "echo")
    assert again.out == "echo 1.0.0 is enabled with 1 workers a node\n"
    wrong = mmn("functions", "rollback", "echo", "--to", "9.9.9")
    assert (wrong.code, "no version '9.9.9'" in wrong.err) == (Exit.BAD_INPUT, True)
    shown = mmn("functions", "show", "echo").out
    for version, what in (
        ("1.1.0", "rolled-back"),
        ("1.2.0", "promoted"),
        ("1.3.0", "rolled-back"),
        ("1.0.0", "promoted"),
    ):
        assert any(version in line and what in line for line in shown.splitlines()), shown


def test_a_fault_at_every_call_is_no_reason_for_a_job_to_fail(own_network: RunningNetwork, tmp_path: Path) -> None:
    mmn = own_network.mmn
    assert (
        mmn("deploy", wheel(tmp_path, "1.1.0", FAULTY), "--canary", "90", "--hold", "600", "--no-wait").code == Exit.OK
    )
    held: dict[str, Any] = {"rollout": "on its way"}
    # One after another, as a person types them: the version is found out by the jobs themselves.
    for _ in range(60):
        if held["rollout"] is None:
            break
        ran = mmn("run", "echo", "-o", "json")
        assert (ran.code, ran.json()["version"]) == (Exit.OK, "1.0.0"), ran
        held = own_network.api.get("/functions/echo").json()["deployment"]
    assert held["history"][-1]["what"] == "rolled-back"
    assert "(ValueError: no)" in held["history"][-1]["reason"]
