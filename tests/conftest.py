"""Marks every test by its folder and, where MMN_NO_SKIP=1, turns each skip into a failure."""

import os
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = frozenset({"unit", "integration", "scenario", "browser", "netns", "benchmark"})

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_configure(config: pytest.Config) -> None:
    # Registered as a plugin because hooks of a conftest file do not reach the bundles' tests.
    if os.environ.get("MMN_NO_SKIP") == "1":
        config.pluginmanager.register(NoSkips(), "mmn-no-skips")
        config.option.continue_on_collection_errors = True  # a whole file that skips must not hide the other files


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        layer = layer_of(item.path)
        if layer:
            item.add_marker(layer)


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
