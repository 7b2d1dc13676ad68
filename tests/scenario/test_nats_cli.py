"""The official `nats` command line sees every process of the network, and its schemas accept what they say."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import RunningNetwork

HOW = "the nats command line is not here; get it: go install github.com/nats-io/natscli/nats@v0.5.1"


@pytest.fixture(scope="module")
def nats() -> str:
    """The path of the command."""
    found = shutil.which("nats")
    if found is None:
        pytest.skip(HOW)
    return found


def run(nats: str, network: RunningNetwork, *arguments: str) -> str:
    """Run it as the operator does: server and `operator.creds` from stack.json, nothing else."""
    told = network.stack()
    done = subprocess.run(
        [
            nats,
            "--server",
            told["nats"]["url"],
            "--tlsca",
            told["nats"]["ca"],
            "--creds",
            told["credentials"]["operator"],
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_list_names_every_process(nats: str, network: RunningNetwork) -> None:
    workers = {item["instance"] for item in network.api.get("/modules").json() if item["kind"] == "worker"}
    assert len(workers) >= 4

    def everybody() -> bool:
        # It stops listening 300 ms after the last answer, so a busy machine may miss one.
        listed = run(nats, network, "micro", "ls")
        return all(name in listed for name in ("anchor1", "gateway1", "n1", "n2", *workers))

    eventually_sync(everybody, within=20)


@pytest.mark.parametrize("service", ["anchor", "gateway", "runtime", "echo", "latency-ping"])
def test_info_and_stats_of_every_service(nats: str, network: RunningNetwork, service: str) -> None:
    info = run(nats, network, "micro", "info", service)
    assert "Description:" in info
    if service in {"echo", "latency-ping"}:
        assert f"mmn.fn.{service}." in info
        assert "params_schema" in info
    # It aborts on the first answer that breaks the schema.
    assert service in run(nats, network, "micro", "stats", service)


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
def test_every_answer_fits_the_official_schema(nats: str, network: RunningNetwork, tmp_path: Path, verb: str) -> None:
    answers = [
        line
        for line in run(
            nats, network, "req", f"$SRV.{verb}", "", "--replies", "0", "--reply-timeout", "1s", "--raw"
        ).splitlines()
        if line.startswith("{")
    ]
    names = {json.loads(answer)["name"] for answer in answers}
    assert {"anchor", "gateway", "runtime", "echo", "latency-ping"} <= names
    for number, answer in enumerate(answers):
        path = tmp_path / f"{verb}-{number}.json"
        path.write_text(answer)
        told = run(nats, network, "schema", "validate", f"io.nats.micro.v1.{verb.lower()}_response", str(path))
        assert "validates against" in told, f"{answer}\n{told}"


def test_the_schema_check_itself_can_fail(nats: str, network: RunningNetwork, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"type":"io.nats.micro.v1.info_response"}')
    told = run(nats, network, "schema", "validate", "io.nats.micro.v1.info_response", str(path))
    assert "missing properties" in told


def test_a_job_by_plain_nats_req(nats: str, network: RunningNetwork) -> None:
    request = '{"function":"echo","params":{"text":"by nats req"}}'
    receipt = json.loads(run(nats, network, "req", "mmn.jobs.submit", request, "--raw"))
    found = network.api.get(f"/jobs/{receipt['job']}/result", params={"wait": 20})
    assert found.json()["data"]["text"] == "by nats req"
