"""Marks every test by its folder and, where MMN_NO_SKIP=1, turns each skip into a failure.

Tests that need containers are left out, with a line that says so, unless MMN_CONTAINERS=1: where
no container can be run at all, nothing is missing that could be installed.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
import structlog

# Here, so that scenarios and browser tests share one network: a second import would start a second one.
from tests.kit.network import network, own_network

__all__ = ["network", "own_network"]

ROOT = Path(__file__).resolve().parents[1]
LAYERS = frozenset({"unit", "integration", "scenario", "browser", "netns", "benchmark"})

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


LEFT_OUT = pytest.StashKey[int]()
HOW_TO_RUN = "needs podman and podman-compose; run by `make containers`, or with MMN_CONTAINERS=1"


def pytest_configure(config: pytest.Config) -> None:
    # The default one draws every local variable, which takes seconds in the middle of a test that keeps time.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.stdlib.add_log_level, plain])
    config.addinivalue_line("markers", f"containers: the network of compose.yaml, {HOW_TO_RUN}")
    # Registered as a plugin because hooks of a conftest file do not reach the bundles' tests.
    if os.environ.get("MMN_NO_SKIP") == "1":
        config.pluginmanager.register(NoSkips(), "mmn-no-skips")
        config.option.continue_on_collection_errors = True  # a whole file that skips must not hide the other files


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        layer = layer_of(item.path)
        if layer:
            item.add_marker(layer)
    if os.environ.get("MMN_CONTAINERS") != "1":
        leave_out_containers(config, items)


def leave_out_containers(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect rather than skip, so that it is no failure where nothing may be skipped."""
    left_out = [item for item in items if item.get_closest_marker("containers")]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    number = config.stash.get(LEFT_OUT, 0)
    if number:
        terminalreporter.write_line(f"LEFT OUT: {number} tests in containers ({HOW_TO_RUN})")


def layer_of(path: Path) -> str | None:
    """Name the layer a test file belongs to, from where it lies."""
    try:
        parts = path.relative_to(ROOT).parts
    except ValueError:
        return None
    if parts[0] == "functions":
        return "bundle"
    return parts[1] if parts[0] == "tests" and parts[1] in LAYERS else None


class NoSkips:
    """In CI a missing tool must not make a test vanish: a skip is reported as a failure, with its reason."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        return refuse_skip((yield))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        return refuse_skip((yield))


def refuse_skip(report: Report) -> Report:
    """Turn a skip into a failure; an expected failure (xfail) is not a skip."""
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (MMN_NO_SKIP=1: nothing may be skipped)"
    return report
