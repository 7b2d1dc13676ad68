"""The command line over https, for longer than a token lasts."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import MMN, ROOT, RunningNetwork, environment

pytestmark = pytest.mark.timeout(180)
TOKEN_S = 5


def test_a_watch_over_https_outlives_its_tokens_and_misses_nothing(tmp_path: Path) -> None:
    settings = {"MMN_GATEWAY_TOKEN_TTL_S": str(TOKEN_S)}
    with RunningNetwork(tmp_path / "net", "--nodes", "1", "--tls", settings=settings) as network:
        assert network.url.startswith("https://")
        assert network.api.get("/status").headers["strict-transport-security"]
        assert network.mmn("deploy", str(ROOT / "functions" / "echo")).code == 0
        seen = tmp_path / "seen"
        with (
            seen.open("w") as out,
            subprocess.Popen(
                [*MMN, "watch", "-t", "results", "-o", "json"], env=environment(network.folder), stdout=out
            ) as watch,
        ):
            try:
                # Once it shows a result, the watch stands.
                eventually_sync(lambda: run(network) and results(seen), within=30)
                jobs: list[str] = []
                ends = time.monotonic() + 2 * TOKEN_S + 1
                while time.monotonic() < ends:
                    jobs.append(run(network))
                eventually_sync(lambda: set(jobs) <= set(results(seen)), within=20)
                assert watch.poll() is None
            finally:
                watch.terminate()
        told = results(seen)
        assert len(told) == len(set(told))


def run(network: RunningNetwork) -> str:
    """Run echo by the command line; returns the job."""
    return str(network.mmn("run", "echo", "text=x", "-o", "json").json()["job"])


def results(file: Path) -> list[str]:
    """The jobs whose results were shown so far, each in a whole line."""
    lines = file.read_text().splitlines(keepends=True)
    return [json.loads(line)["data"]["job"] for line in lines if line.endswith("\n")]
