"""An Anchor killed under load that came through the gateway; `mmn scenario fault-isolation` kills the others."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import ApiClient, RunningNetwork, finished

pytestmark = pytest.mark.timeout(180)


class Load:
    """Submits jobs of one function from a few threads until stopped; remembers what was accepted."""

    def __init__(self, network: RunningNetwork, function: str, params: dict[str, object], *, threads: int = 3) -> None:
        told = network.stack()
        password = Path(told["admin"]["password_file"]).read_text().strip()
        self.api = ApiClient(network.url, "admin", password)
        self.accepted: list[str] = []
        self.refused: Counter[str] = Counter()
        self._body = {"function": function, "params": params}
        self._stop = Event()
        self._pool = ThreadPoolExecutor(threads)
        self._running = [self._pool.submit(self._submit) for _ in range(threads)]

    def _submit(self) -> None:
        while not self._stop.is_set():
            told = self.api.post("/jobs", json=self._body)
            if told.status_code == 202:
                self.accepted.append(told.json()["job"])
            else:
                self.refused[f"{told.status_code} {told.json()['reason']}"] += 1
                self._stop.wait(0.1)
            # A bounded rate: this proves that nothing is lost, not how fast it goes.
            self._stop.wait(0.02)

    def at_least(self, jobs: int) -> None:
        """Wait until so many jobs more were accepted."""
        wanted = len(self.accepted) + jobs
        eventually_sync(lambda: len(self.accepted) >= wanted, within=60)

    def stop(self) -> list[str]:
        """Stop submitting. Returns the ids of every accepted job."""
        self._stop.set()
        for running in self._running:
            running.result(30)
        self._pool.shutdown()
        return self.accepted

    def outcomes(self) -> Counter[str]:
        """The failure code of every accepted job's result, `ok` for none. Fails when one has no result."""
        found: Counter[str] = Counter()
        for job in self.accepted:
            failure = finished(self.api, job, within=60)["failure"]
            found[failure["code"] if failure else "ok"] += 1
        self.api.close()
        return found


def restarted_after_kill(network: RunningNetwork, role: str) -> None:
    """SIGKILL a process of the stack; wait until another one has taken its place."""
    old = network.kill(role)
    eventually_sync(lambda: network.pid(role) not in {None, old}, within=20)


def test_an_anchor_killed_under_load_costs_no_accepted_job(own_network: RunningNetwork) -> None:
    load = Load(own_network, "echo", {"text": "x", "delay_ms": 100})
    for _ in range(2):
        load.at_least(15)
        restarted_after_kill(own_network, "anchor")
    load.at_least(15)
    jobs = load.stop()
    assert load.outcomes() == Counter(ok=len(jobs))
    # While no Anchor runs, a submit is refused in words, never taken and lost.
    assert {reason.split()[0] for reason in load.refused} <= {"503", "504"}
