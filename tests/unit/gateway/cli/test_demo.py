from __future__ import annotations

import pytest

from gateway.cli import demo
from gateway.cli.deploy import Outcome


def test_the_checkout_holds_the_functions_of_the_demo() -> None:
    assert [path.name for path in demo.bundle_folders()] == ["echo", "latency-ping"]


def test_without_ipv6_only_ipv4_is_pinged_and_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    targets = [shot.params.get("target") for shot in demo.shots(ipv6=False)]
    assert targets == [None, "127.0.0.1"]
    assert "no IPv6" in capsys.readouterr().err
    assert demo.shots(ipv6=True)[-1].params["target"] == "::1"


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
