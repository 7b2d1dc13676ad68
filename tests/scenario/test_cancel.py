"""Cancelling by the command line, on a whole network."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import MMN, RunningNetwork, environment, finished
from tests.kit.wheels import BUNDLES, wheel_of

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def napping(network: RunningNetwork, tmp_path_factory: pytest.TempPathFactory) -> RunningNetwork:
    """The shared network with a function that naps: one worker on each node, one job at a time."""
    wheel = tmp_path_factory.mktemp("nap") / "nap-1.0.0-py3-none-any.whl"
    wheel.write_bytes(wheel_of(BUNDLES / "nap"))
    deployed = network.mmn("deploy", str(wheel), "--wait")
    assert deployed.code == 0, deployed
    return network


@pytest.fixture
def waiting(napping: RunningNetwork, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`mmn run` of a job that takes a minute."""
    with (tmp_path / "err").open("w+") as err:
        process = subprocess.Popen(
            [*MMN, "run", "nap", "seconds=60", "--node", "n1"],
            env=environment(napping.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def running(network: RunningNetwork) -> str:
    """The job that naps on n1, once a worker has it."""

    def found() -> str:
        query = {"function": "nap", "state": "running"}
        jobs = network.api.get("/jobs", params=query).json()["jobs"]
        return next((str(job["id"]) for job in jobs if job["place"] == "n1"), "")

    return eventually_sync(found, within=20)


def test_a_cancelled_job_makes_room_at_once_and_its_waiter_is_told(
    napping: RunningNetwork, waiting: subprocess.Popen[str]
) -> None:
    job = running(napping)
    order = {"function": "nap", "node": "n1"}
    queued = [napping.api.post("/jobs", json=order).json()["job"] for _ in range(2)]
    done = napping.mmn("jobs", "cancel", queued[0], job, "--reason", "wrong node")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{queued[0]} is cancelled\n{job} is cancelled\n"
    assert finished(napping.api, queued[1], within=10)["failure"] is None, "the slot is free"
    out, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 5
    assert "cancelled (blame: request): by admin: wrong node" in out


def test_a_cancelled_job_is_shown_and_listed_as_such(napping: RunningNetwork) -> None:
    job = napping.api.post("/jobs", json={"function": "nap", "params": {"seconds": 60}}).json()["job"]
    assert napping.mmn("jobs", "cancel", job).code == 0
    shown = napping.mmn("jobs", "show", job)
    assert shown.code == 0
    assert shown.out.splitlines()[0].endswith("cancelled")
    assert "job cancelled" in shown.out
    listed = napping.mmn("jobs", "list", "--state", "cancelled", "--function", "nap", "-o", "json").json()
    assert job in {row["id"] for row in listed}
    assert {row["failure"] for row in listed} == {"cancelled"}


def test_cancelling_again_or_too_late_changes_nothing(napping: RunningNetwork) -> None:
    ended = napping.api.post("/jobs", json={"function": "nap"}).json()["job"]
    assert finished(napping.api, ended)["failure"] is None
    job = napping.api.post("/jobs", json={"function": "nap", "params": {"seconds": 60}}).json()["job"]
    assert napping.api.post(f"/jobs/{job}/cancel").json()["state"] == "cancelled"
    again = napping.mmn("jobs", "cancel", job, "nothing", ended)
    assert again.code == 2, "one of them does not exist, and the others are told all the same"
    assert again.out == f"{job} is cancelled, and was before\n{ended} has ended before: ok\n"
    assert again.err == "error: job: there is no job nothing\n"
    told = napping.mmn("jobs", "cancel", job, ended, "-o", "json").json()
    assert [(one["state"], one["failure"], one["repeated"]) for one in told] == [
        ("cancelled", "cancelled", True),
        ("ended", None, False),
    ]


def test_ctrl_c_ends_the_wait_and_tells_how_to_cancel(
    napping: RunningNetwork, waiting: subprocess.Popen[str], tmp_path: Path
) -> None:
    job = running(napping)
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert f"the job goes on; cancel it by: mmn jobs cancel {job}" in (tmp_path / "err").read_text()
    assert napping.api.get(f"/jobs/{job}").json()["job"]["state"] == "running"
    assert napping.mmn("jobs", "cancel", job).code == 0
