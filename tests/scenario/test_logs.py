"""Log lines of the whole network, by `mmn logs`."""

import json

from tests.kit.network import RunningNetwork


def test_log_lines_are_shown_filtered_and_as_json(network: RunningNetwork) -> None:
    ran = network.mmn("logs", "--no-follow", "--tail", "1000", "--function", "echo", "-o", "json")
    assert ran.code == 0, ran
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert {"worker started", "worker ready"} <= {line["event"] for line in lines}
    assert {line["fields"]["function"] for line in lines if "function" in line["fields"]} == {"echo"}
    assert "worker ready" in network.mmn("logs", "--no-follow", "--tail", "1000", "--instance", "n1").out
    assert network.mmn("logs", "--no-follow", "--tail", "0").out == ""
    assert network.mmn("logs", "--level", "warn").code == 2
