"""The rules for packets as text: whom they are about, what they refuse, and what goes before what."""

import ipaddress

import pytest

from runtime.box import Users
from runtime.egress import Wish, not_public, ruleset
from runtime.targets import TargetPolicy

WISH = Wish(
    users=Users(400_000, 400_999),
    bus_ports=[4222],
    resolvers=["127.0.0.53/32", "fd00::53/128"],
    targets=TargetPolicy(allow=["10.1.0.0/16"], deny=["9.9.9.0/24", "2620:fe::/48"], own=["8.8.8.8/32"]),
)


def place(text: str) -> int:
    found = ruleset(WISH).find(text)
    assert found >= 0, text
    return found


def test_the_table_replaces_its_own_and_touches_no_other() -> None:
    lines = ruleset(WISH).splitlines()
    assert lines[:3] == ["add table inet mmn_400000", "delete table inet mmn_400000", "table inet mmn_400000 {"]
    assert not [line for line in lines[3:] if "table" in line or "flush" in line]


def test_only_packets_of_the_workers_users_are_judged() -> None:
    place("policy accept;\n    meta skuid 400000-400999 jump worker\n  }")


def test_nats_and_the_resolvers_go_first_then_the_lists_in_their_order() -> None:
    order = [
        "tcp dport { 4222 } accept",
        "ip daddr { 127.0.0.53/32 } meta l4proto { tcp, udp } th dport 53 accept",
        "ip6 daddr { fd00::53/128 } meta l4proto { tcp, udp } th dport 53 accept",
        "ip daddr @deny4 reject",
        "ip daddr @allow4 accept",
        "ip daddr @own4 reject",
        "ip daddr @local4 reject",
        "ip6 daddr @local6 reject",
        "meta oifname lo reject",
    ]
    assert [place(text) for text in order] == sorted(place(text) for text in order)
    place("elements = { 10.1.0.0/16 }")
    place("elements = { 2620:fe::/48 }")


def test_an_empty_wish_is_still_a_whole_table() -> None:
    text = ruleset(Wish(users=Users(1, 2), bus_ports=[], resolvers=[]))
    assert "dport" not in text
    assert "set allow4 {\n    type ipv4_addr; flags interval;\n  }" in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    "address",
    [
        *(
            "10.0.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "203.0.113.1",
            "127.0.0.1",
            "169.254.169.254",
            "224.0.0.1",
        ),
        *("0.0.0.0", "255.255.255.255", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1"),
        *("64:ff9b::169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:a00:1::1", "2002:7f00:1::"),
    ],
)
def test_what_is_not_the_public_internet_is_denied(address: str) -> None:
    assert any(ipaddress.ip_address(address) in network for network in not_public())


@pytest.mark.parametrize(
    "address", ["9.9.9.9", "172.32.0.1", "100.128.0.1", "2620:fe::fe", "64:ff9b::9.9.9.9", "2002:909::1"]
)
def test_the_public_internet_is_not_denied(address: str) -> None:
    assert not any(ipaddress.ip_address(address) in network for network in not_public())
