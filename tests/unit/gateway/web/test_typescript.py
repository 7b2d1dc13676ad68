"""The page's own tests, which Node.js runs without a build."""

import subprocess
from pathlib import Path

import pytest

from gateway.web import build

HERE = Path(__file__).resolve().parent


def test_the_pages_own_tests_pass() -> None:
    if not (build.MODULES / "preact").exists():
        pytest.skip("the page's libraries are not installed: make web, with the npm registry in reach")
    tests = sorted(str(path) for path in HERE.glob("*.test.ts"))
    assert tests
    done = subprocess.run(
        [build.node(), "--test", *tests], cwd=build.WEB, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
