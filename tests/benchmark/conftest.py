"""A network to measure, and a place for the figures."""

import json
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from contracts import clock
from tests.kit.network import ROOT, RunningNetwork

FOLDER = Path(__file__).parent / "results"


@pytest.fixture(scope="session")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    """One Anchor, one runtime, two workers of echo."""
    # One client submits as fast as it can.
    settings = {"MMN_ANCHOR_CLIENT_RATE": "0"}
    with RunningNetwork(tmp_path_factory.mktemp("bench") / "net", "--nodes", "1", settings=settings) as running:
        deployed = running.mmn("deploy", str(ROOT / "functions" / "echo"), "--workers", "2")
        assert deployed.code == 0, deployed
        yield running


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[dict[str, Any]], None]:
    """Print figures and keep them as JSON; nothing is asserted about them."""

    def keep(figures: dict[str, Any]) -> None:
        name = request.node.name.removeprefix("test_")
        FOLDER.mkdir(exist_ok=True)
        told = {
            "name": name,
            "at": clock.utc_now(),
            "mmn": version("mmn"),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "figures": figures,
        }
        (FOLDER / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")
        with capsys.disabled():
            print(f"\n{name.replace('_', ' ')}")  # noqa: T201  # a benchmark is for reading
            for key, value in figures.items():
                print(f"  {key:<44} {value}")  # noqa: T201  # same

    return keep
