from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from runtime.sdk.__main__ import BAD_INPUT, MEASURED, NOT_RUN, main

ECHO = str(Path(__file__).resolve().parents[4] / "functions" / "echo")
REFUSING = """
from __future__ import annotations
import asyncio
from runtime.sdk import CannotMeasure, Code, Context, Measured, Params, Report, failed

class RefusingParams(Params, frozen=True):
    how: str = "raise"

class Nothing(Report, frozen=True):
    pass

async def measure(params: RefusingParams, ctx: Context) -> Measured[Nothing]:
    ctx.log.info("asked", how=params.how)
    if params.how == "raise":
        raise CannotMeasure("no such privilege", code=Code.NO_PRIVILEGE)
    if params.how == "hang":
        await asyncio.sleep(60)
    return Measured(failure=failed(Code.TIMEOUT))
"""


@pytest.fixture(autouse=True)
def _clean_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("refusing")
    (path / "mmn_refusing").mkdir()
    (path / "mmn_refusing" / "__init__.py").write_text(REFUSING)
    (path / "mmn_refusing" / "function.toml").write_text('summary = "refuses"')
    (path / "pyproject.toml").write_text(
        '[project]\nname = "refusing"\nversion = "1.0.0"\n'
        '[project.entry-points."mmn.functions"]\nrefusing = "mmn_refusing:measure"\n'
    )
    return str(path)


def test_the_result_goes_to_stdout_and_progress_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", ECHO, '{"text": "salut"}']) == MEASURED
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["data"]["text"] == "salut"
    assert result["params"] == {"text": "salut", "delay_ms": 0}
    assert (result["function"], result["version"], result["failure"]) == ("echo", "1.0.0", None)
    assert json.loads(printed.err) == {"kind": "waiting", "delay_ms": 0}


def test_schemas_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", ECHO]) == MEASURED
    schemas = json.loads(capsys.readouterr().out)
    assert schemas["params"]["properties"]["delay_ms"]["maximum"] == 60_000
    assert "waited_ns" in schemas["result"]["properties"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", ECHO, '{"delay_ms": -1}'], "params.delay_ms"),
        (["run", ECHO, "{"], "must be a JSON object"),
        (["run", ECHO, "[]"], "must be a JSON object"),
        (["run", str(Path(ECHO).parent)], "not a bundle folder"),
    ],
)
def test_wrong_input_is_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_a_measured_failure_is_a_measurement(refusing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", refusing, '{"how": "fail"}']) == MEASURED
    printed = capsys.readouterr()
    assert json.loads(printed.out)["failure"] == {"code": "timeout", "blame": "target"}
    assert 'info: asked {"how":"fail"}' in printed.err


def test_a_function_that_cannot_run_here_says_why(refusing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", refusing]) == NOT_RUN
    assert "cannot measure (no-privilege): no such privilege" in capsys.readouterr().err


def test_a_function_that_ignores_its_deadline_is_stopped(
    refusing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.sdk.testing._GRACE", 0.0)
    assert main(["run", refusing, '{"how": "hang"}', "--deadline", "0.05"]) == NOT_RUN
    assert "ran past its deadline" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", ECHO, "{}", "--deadline", "0"], ["fly"]])
def test_a_wrong_command_line_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == BAD_INPUT
    assert "usage" in capsys.readouterr().err
