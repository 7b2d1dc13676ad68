from __future__ import annotations

import pytest

from gateway.cli import demo
from gateway.cli.deploy import Outcome


def test_the_checkout_holds_the_functions_of_the_demo() -> None:
    assert [path.name for path in demo.bundle_folders()] == list(demo.FUNCTIONS)


def test_without_ipv6_only_ipv4_is_pinged_and_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def pinged(*, ipv6: bool) -> list[str]:
        shots = demo.shots("http://127.0.0.1:1", 53, ipv6=ipv6)
        return [shot.params["target"] for shot in shots if shot.function == "latency-ping"]

    assert pinged(ipv6=False) == ["127.0.0.1"]
    assert "no IPv6" in capsys.readouterr().err
    assert pinged(ipv6=True) == ["127.0.0.1", "::1"]


def test_the_machines_own_name_server_is_asked_only_where_that_is_wanted() -> None:
    def servers(*, wanted: bool) -> list[str]:
        shots = demo.shots("http://127.0.0.1:1", 53, ipv6=True, system_resolver=wanted)
        return [shot.params.get("server", "system") for shot in shots if shot.function == "dns-lookup"]

    assert servers(wanted=True) == ["127.0.0.1", "system"]
    assert servers(wanted=False) == ["127.0.0.1"]


def test_lookups_and_probes_are_summed_up_by_what_came_back() -> None:
    answers = [{"type": "A", "rdata": "127.0.0.1"}]
    told = {"rcode_name": "NOERROR", "answers": answers, "query_ns": 1000}
    assert demo.summary(told) == "NOERROR, A 127.0.0.1, query 1.000 µs"
    assert demo.summary(told | {"rcode_name": None}) == "no answer"
    assert demo.summary({"status": 200, "body_bytes": 9, "total_ns": 2000}) == "status 200, 9 bytes, 2.000 µs"


def test_a_ping_is_summed_up_by_its_round_trips() -> None:
    data = {"sent": 3, "received": 3, "round_trip": {"min_ns": 1000, "mean_ns": 2000, "max_ns": 3000}}
    assert demo.summary(data) == "3/3 replies, round trip 1.000 µs / 2.000 µs / 3.000 µs (min/mean/max)"


def test_another_report_is_summed_up_by_its_values() -> None:
    assert demo.summary({"text": "hi", "waited_ns": 1000, "more": [1]}) == "text hi, waited 1.000 µs"
    assert demo.summary({}) == "-"


def test_outcomes_are_one_line() -> None:
    seen = [
        Outcome(node="n1", state="ready", workers=1),
        Outcome(node="n2", state="failed", workers=0, reason="no space"),
        Outcome(node="n3", state="ready", workers=1),
    ]
    assert demo.told_outcomes(seen) == "ready on n1, n3; failed on n2 (no space)"
