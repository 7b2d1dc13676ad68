"""The README's commands, run as a newcomer runs them: every `sh` block in its order, and the function it shows."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from runtime.sdk import Function
from runtime.sdk.testing import Bench
from tests.kit.eventually import eventually_sync
from tests.kit.network import ROOT, wait_until_gone

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
UP = next(block for block in BLOCKS if block.startswith("make up"))
BY_HAND = [block for block in BLOCKS if not block.startswith("make ")]

pytestmark = pytest.mark.timeout(180)


def home_environment(home: Path) -> dict[str, str]:
    """A newcomer's environment: an empty home folder, and no setting of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MMN_", "XDG_"))}
    # One thing differs: nothing is sent beyond loopback.
    return kept | {"HOME": str(home), "MMN_DEMO_SYSTEM_RESOLVER": "0"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder with a network by the README's own command, on a free port."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "mmn").mkdir()
    for name in (".venv", "functions"):
        (folder / "mmn" / name).symlink_to(ROOT / name)
    command = UP.replace('ARGS="', 'ARGS="--port 0 ')
    assert command != UP
    stack = folder / ".local/state/mmn/stack.json"
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(
            ["bash", "-ec", f"exec {command}"],
            cwd=ROOT,
            env=home_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    try:
        eventually_sync(lambda: stack.exists() or process.poll() is not None, within=90)
        assert process.poll() is None, (folder / "console").read_text()
        yield folder
    finally:
        process.terminate()
        process.wait(60)
        wait_until_gone(folder / ".local/state/mmn", within=30)


def test_the_demo_ends_well(tmp_path: Path) -> None:
    command = next(block for block in BLOCKS if block.startswith("make demo"))
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=ROOT,
        env=home_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "every job has its result" in done.stderr


@pytest.mark.parametrize("block", BY_HAND, ids=lambda block: block.split("\n")[0][:40])
def test_a_block_does_what_it_says(home: Path, block: str) -> None:
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", block],
        cwd=home / "mmn",
        env=home_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"status":4' not in done.stdout
    assert '"status":5' not in done.stdout


async def test_the_function_shown_measures() -> None:
    code = next(block for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
    shown = ModuleType("shown")
    sys.modules["shown"] = shown
    try:
        exec(compile(code, "README.md", "exec", dont_inherit=True), vars(shown))  # noqa: S102  # that is the test
        Function.load(shown.measure)
        measured = await Bench(deadline=5.0).run(shown.measure, {"target": "127.0.0.1"})
    finally:
        del sys.modules["shown"]
    assert measured.address == "127.0.0.1"


def test_every_file_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
