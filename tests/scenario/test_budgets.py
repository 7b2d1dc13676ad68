"""Budgets as people meet them: through the gateway's API, on the command line, each user with an own one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.network import ROOT, ApiClient, RunningNetwork

SETTINGS = {
    "MMN_ANCHOR_CLIENT_RATE": "0.01",
    "MMN_ANCHOR_CLIENT_BURST": "4",
    "MMN_ANCHOR_TARGET_RATE": "0.01",
    "MMN_ANCHOR_TARGET_BURST": "2",
    "MMN_ANCHOR_TARGET_EXEMPT": "[]",
}


pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[RunningNetwork]:
    with RunningNetwork(tmp_path / "net", "--nodes", "1", settings=SETTINGS) as running:
        for name in ("echo", "latency-ping"):
            deployed = running.mmn("deploy", str(ROOT / "functions" / name))
            assert deployed.code == 0, deployed
        yield running


def test_a_spent_budget_is_told_with_its_reason_and_the_time_to_come_back(small: RunningNetwork) -> None:
    def accepted(function: str, **params: str | int) -> int:
        return small.api.post("/jobs", json={"function": function, "params": params}).status_code

    assert [accepted("latency-ping", target="127.0.0.1", count=1) for _ in range(2)] == [202, 202]
    target = small.mmn("run", "latency-ping", "target=127.0.0.77")
    assert target.code == 4
    assert "the budget of target '127.0.0.0/24' is spent: 0.01 jobs a second, 2 at once; try again in" in target.err

    assert [accepted("echo") for _ in range(2)] == [202, 202], "the refused job took nothing from its client"
    client = small.mmn("run", "echo")
    assert client.code == 4
    assert "the budget of client 'admin' is spent" in client.err
    told = small.api.post("/jobs", json={"function": "echo"})
    assert (told.status_code, told.json()["reason"]) == (429, "client-budget")
    assert 0 < told.json()["retry_after"] <= int(told.headers["Retry-After"]) <= 100

    created = small.api.put("/users/ann", json={"role": "operator", "password": "a long enough password"})
    assert created.is_success, created.text
    ann = ApiClient(small.url, "ann", "a long enough password")
    try:
        assert ann.post("/jobs", json={"function": "echo"}).status_code == 202
    finally:
        ann.close()
