"""Who is let in, and which ports belong to NATS."""

import pytest

from contracts.functions import Need
from runtime.box import Level
from runtime.isolation import Enforcement, State, bus_ports, found_by_name, refusal


def said(
    *needs: Need,
    own: bool = False,
    level: Level = "B0",
    egress: Enforcement = "enforced",
    minimum: Level = "B2",
    unless_advisory: bool = False,
) -> str:
    state = State(level=level, egress=egress, gaps=("for a reason",))
    return refusal(state, needs, own=own, minimum=minimum, unless_advisory=unless_advisory)


def test_ones_own_bundle_runs_in_every_box() -> None:
    assert not said("tcp", own=True, level="B4", egress="advisory", minimum="B0")


def test_a_third_partys_bundle_needs_the_minimum() -> None:
    refused = "the bundle is a third party's, and this node's box is B3, below B2: for a reason"
    assert said(level="B3") == refused
    assert not said(level="B2")


def test_the_minimum_is_a_setting() -> None:
    assert said(level="B1", minimum="B0")
    assert not said(level="B4", minimum="B4")


def test_a_third_party_on_the_network_needs_enforced_egress_unless_it_is_switched_off() -> None:
    assert said("udp", egress="advisory").endswith("needs udp, and this node does not enforce egress")
    assert not said(egress="advisory")
    assert not said("udp", egress="advisory", unless_advisory=True)
    assert not said("udp", egress="enforced")


@pytest.mark.parametrize(
    ("urls", "ports", "by_name"),
    [
        ("nats://127.0.0.1:14222", [14222], False),
        ("nats://nats:4222", [4222], True),
        ("tls://[::1]:4333, 127.0.0.1", [4222, 4333], False),
        ("nats://10.0.0.1:4222,nats://bus.example.net:4223", [4222, 4223], True),
    ],
)
def test_ports_of_nats(urls: str, ports: list[int], by_name: bool) -> None:
    assert bus_ports(urls) == ports
    assert found_by_name(urls) == by_name
