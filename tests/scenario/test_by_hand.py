"""A network as a person uses it: by the command line, by the API, and by NATS itself."""

import asyncio
import json
import os
import ssl
import stat
import subprocess
from pathlib import Path
from typing import Any

import nats
import pytest

from contracts import clock, subjects
from tests.kit.eventually import eventually_sync
from tests.kit.network import MMN, RunningNetwork, environment, finished, mmn


def test_the_stack_file_tells_where_everything_is(network: RunningNetwork) -> None:
    told = network.stack()
    assert stat.S_IMODE((network.folder / "stack.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(network.folder.stat().st_mode) == 0o700
    assert told["nodes"] == ["n1", "n2"]
    for path in (*told["credentials"].values(), told["admin"]["password_file"]):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    pids = told["pids"]
    for pid in (pids["nats-server"][0], pids["gateway"][0], *pids["anchor"].values(), *pids["runtime"].values()):
        os.kill(pid, 0)
    assert set(pids["runtime"]) == {"n1", "n2"}


def test_a_function_runs_and_its_job_is_listed(network: RunningNetwork) -> None:
    result = network.mmn("run", "echo", "text=by hand", "delay_ms=10", "--node", "n2", "-o", "json").json()
    assert result["node"] == "n2"
    assert result["data"]["text"] == "by hand"
    assert result["params"] == {"text": "by hand", "delay_ms": 10}
    listed = network.mmn("jobs", "list", "--function", "echo", "-o", "json").json()
    assert result["job"] in [job["id"] for job in listed]
    shown = network.mmn("jobs", "show", result["job"])
    assert "job finished" in shown.out
    assert "by hand" in shown.out


def test_modules_and_functions_are_listed(network: RunningNetwork) -> None:
    modules = network.mmn("modules", "-o", "json").json()
    assert {"anchor", "gateway", "runtime", "worker"} <= {module["kind"] for module in modules}
    assert "latency-ping" in network.mmn("functions").out
    shown = network.mmn("functions", "show", "latency-ping")
    assert "interval_ms" in shown.out
    assert "required" in shown.out


def test_a_ping_shows_its_packets_live_and_in_a_table(network: RunningNetwork) -> None:
    ran = network.mmn("run", "latency-ping", "target=127.0.0.1", "count=3", "interval_ms=50", "--watch")
    if ran.code == 5:
        pytest.skip(f"ICMP is not permitted here: {ran.out}")
    assert ran.code == 0, ran
    assert "sent 3, received 3" in ran.out
    assert [line.split()[0] for line in ran.out.splitlines() if line[:1].isdecimal()] == ["0", "1", "2"]
    assert "reply seq=2" in ran.err


def deployed_anew(network: RunningNetwork, folder: Path, option: str) -> Any:
    """What `mmn deploy` tells of a function from the template."""
    assert network.mmn("new", folder.name, "--dir", str(folder)).code == 0
    return network.mmn("deploy", str(folder), option, "-o", "json").json()


def two_samples(network: RunningNetwork, function: str) -> Any:
    """The result of the first job that a new function takes."""

    def submit() -> str | None:
        told = network.api.post("/jobs", json={"function": function, "params": {"count": 2}})
        return str(told.json()["job"]) if told.status_code == 202 else None

    job = eventually_sync(submit, within=10)
    assert job is not None
    result = finished(network.api, job)
    assert result["failure"] is None
    assert len(result["data"]["samples"]) == 2
    return result


def test_a_new_function_answers_within_two_seconds_of_its_upload(network: RunningNetwork, tmp_path: Path) -> None:
    """From the template to an answer; the clock starts when the gateway takes the upload."""
    deployed = deployed_anew(network, tmp_path / "probe-at-once", "--no-wait")
    result = two_samples(network, "probe-at-once")
    ended = clock.epoch_ns(result["started"]) + result["duration_ns"]
    assert ended - clock.epoch_ns(deployed["deployment"]["uploaded_at"]) < 2e9


def test_a_deploy_that_waits_ends_when_every_node_is_ready(network: RunningNetwork, tmp_path: Path) -> None:
    deployed = deployed_anew(network, tmp_path / "probe-waited-for", "--wait")
    assert {node["node"]: node["state"] for node in deployed["nodes"]} == {"n1": "ready", "n2": "ready"}
    told = network.api.post("/jobs", json={"function": "probe-waited-for", "params": {"count": 2}})
    assert told.status_code == 202, told.text
    assert finished(network.api, told.json()["job"])["failure"] is None


def test_the_same_version_with_other_content_is_refused(network: RunningNetwork, tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    network.mmn("new", "twice", "--dir", str(folder))
    assert network.mmn("deploy", str(folder)).code == 0
    assert network.mmn("deploy", str(folder)).code == 0, "unchanged, so there is nothing to refuse"
    source = folder / "twice" / "__init__.py"
    source.write_text(source.read_text() + "\n# changed\n")
    refused = network.mmn("deploy", str(folder))
    assert refused.code == 2
    assert "new version" in refused.err


def test_a_bundle_that_cannot_be_built_shows_why(network: RunningNetwork, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    network.mmn("new", "broken", "--dir", str(folder))
    (folder / "pyproject.toml").write_text("[project\n")
    refused = network.mmn("deploy", str(folder))
    assert refused.code == 2
    assert "cannot be built" in refused.err
    assert "pyproject.toml" in refused.err


@pytest.mark.parametrize(
    ("arguments", "job"),
    [
        (["run", "nothere"], {"function": "nothere"}),
        (["run", "latency-ping", "target=127.0.0.1", "count=0"], {"params": {"target": "127.0.0.1", "count": 0}}),
        (["run", "latency-ping", "target=127.0.0.1", "count=x"], {"params": {"target": "127.0.0.1", "count": "x"}}),
        (["run", "latency-ping"], {}),
        (
            ["run", "latency-ping", "target=127.0.0.1", "--node", "n9"],
            {"params": {"target": "127.0.0.1"}, "node": "n9"},
        ),
    ],
)
def test_a_wrong_request_is_told_in_the_same_words_as_by_the_api(
    network: RunningNetwork, arguments: list[str], job: dict[str, object]
) -> None:
    told = network.api.post("/jobs", json={"function": "latency-ping"} | job)
    ran = network.mmn(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err == f"error: {told.json()['detail']}\n"
    in_json = network.mmn(*arguments, "-o", "json")
    assert json.loads(in_json.err) == told.json()


def test_a_wrong_password_is_not_allowed(network: RunningNetwork, tmp_path: Path) -> None:
    state = tmp_path / "elsewhere"
    told = network.api.post("/auth/token", auth=("admin", "wrong"))
    ran = mmn("login", network.url, "--password-stdin", state=state, text="wrong\n")
    assert (ran.code, ran.err) == (3, f"error: {told.json()['detail']}\n")
    ran = mmn("modules", "--url", network.url, state=state)
    assert ran.code == 3
    assert "mmn login" in ran.err


def test_a_login_is_kept_for_its_owner(network: RunningNetwork, tmp_path: Path) -> None:
    state = tmp_path / "elsewhere"
    password = Path(network.stack()["admin"]["password_file"]).read_text()
    assert mmn("login", network.url, "--password-stdin", state=state, text=f"{password}\n").code == 0
    assert stat.S_IMODE((state / "logins.json").stat().st_mode) == 0o600
    assert password not in (state / "logins.json").read_text()
    assert mmn("modules", state=state).code == 0
    assert mmn("logout", state=state).code == 0
    assert mmn("modules", "--url", network.url, state=state).code == 3


def test_no_gateway_is_told(tmp_path: Path) -> None:
    ran = mmn("login", "http://127.0.0.1:9", "--password-stdin", state=tmp_path, text="any\n")
    assert ran.code == 4
    assert "no gateway answers at http://127.0.0.1:9" in ran.err


def test_a_second_network_in_the_same_folder_is_refused(network: RunningNetwork) -> None:
    ran = mmn("up", "--dir", str(network.folder), "--port", "0", state=network.folder)
    assert ran.code == 2
    assert f"process {network.process.pid} runs a network" in ran.err
    assert network.mmn("modules").code == 0


def test_the_feed_is_watched_as_lines_of_json(network: RunningNetwork, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    with seen.open("wb") as file:
        watching = subprocess.Popen(
            [*MMN, "watch", "--topic", "results", "--function", "echo", "-o", "json"],
            env=environment(network.folder),
            stdout=file,
        )
    try:

        def told() -> bool:
            network.api.post("/jobs", json={"function": "echo", "params": {"text": "watched"}})
            items = [json.loads(line) for line in seen.read_text().splitlines()]
            return any(item["data"]["data"]["text"] == "watched" for item in items)

        eventually_sync(told, within=20, every=0.3)
    finally:
        watching.terminate()
        watching.wait(10)


async def test_a_job_by_nats_alone(network: RunningNetwork) -> None:
    """As `nats req` does it: JSON, no headers, the operator's credentials."""
    told = network.stack()
    tls = ssl.create_default_context(cafile=told["nats"]["ca"])
    nc = await nats.connect(told["nats"]["url"], user_credentials=told["credentials"]["operator"], tls=tls)
    try:
        results = await nc.subscribe(subjects.RESULTS)
        await nc.flush()
        ask = {"function": "echo", "params": {"text": "by nats", "delay_ms": 20}}
        reply = await nc.request(subjects.SUBMIT, json.dumps(ask).encode(), timeout=5)
        assert not reply.headers or "Nats-Service-Error" not in reply.headers, reply.headers
        job = json.loads(reply.data)["job"]
        async with asyncio.timeout(10):
            while (message := await results.next_msg(timeout=10)).subject != subjects.result(job):
                pass
        assert json.loads(message.data)["data"]["text"] == "by nats"
    finally:
        await nc.close()
    result = finished(network.api, job)
    assert result["data"]["text"] == "by nats"


async def test_a_call_past_the_anchors_by_an_administrator(network: RunningNetwork) -> None:
    """As `nats --creds admin.creds req mmn.fn.echo` does it: one reply, which is the whole result."""
    told = network.stack()
    tls = ssl.create_default_context(cafile=told["nats"]["ca"])
    nc = await nats.connect(told["nats"]["url"], user_credentials=told["credentials"]["admin"], tls=tls)
    try:
        reply = await nc.request("mmn.fn.echo", b'{"params":{"text":"straight"}}', timeout=10)
    finally:
        await nc.close()
    result = json.loads(reply.data)
    assert result["data"]["text"] == "straight"
    assert finished(network.api, result["job"])["by"] == result["by"]


def test_a_key_makes_a_repeated_run_the_same_job(network: RunningNetwork) -> None:
    first = network.mmn("run", "echo", "text=once", "--key", "by-hand-1", "-o", "json").json()
    again = network.mmn("run", "echo", "text=once", "--key", "by-hand-1", "-o", "json").json()
    assert again == first
    other = network.mmn("run", "echo", "text=other", "--key", "by-hand-1")
    assert other.code == 2
    assert "key" in other.err
