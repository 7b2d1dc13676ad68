"""What a node lets its functions measure."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidField
from contracts.failure import Code
from runtime.targets import TargetPolicy, infrastructure, read_networks, resolver_addresses

PUBLIC = ("8.8.8.8", "1.1.1.1", "2001:4860:4860::8888", "2600::1")
CLOSED = {
    "127.0.0.1": "loopback",
    "127.255.0.9": "loopback",
    "::1": "loopback",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "0.0.0.0": "unspecified",
    "::": "unspecified",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "private",
    "198.18.0.1": "private",
    "192.0.2.1": "private",
    "240.0.0.1": "private",
    "255.255.255.255": "private",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fec0::1": "private",
    "2001:db8::1": "private",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_may_be_measured(address: str) -> None:
    assert TargetPolicy().judge()(address) is None


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_public_is_refused_and_the_kind_named(address: str) -> None:
    refusal = TargetPolicy().judge()(address)
    assert refusal is not None
    assert refusal.code is Code.TARGET_DENIED
    assert CLOSED[address] in refusal.detail


@given(st.integers(0, 2**32 - 1))
def test_no_ipv6_form_opens_what_the_ipv4_form_does_not(number: int) -> None:
    inner = ipaddress.IPv4Address(number)
    judge = TargetPolicy().judge()
    if judge(str(inner)) is None:
        return
    word = int(inner)
    forms = [f"::ffff:{inner}", f"64:ff9b::{inner}", str(ipaddress.IPv6Address((0x2002 << 112) | (word << 80)))]
    # Teredo carries the client's address with every bit turned over (RFC 4380, section 4).
    forms.append(str(ipaddress.IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (word ^ 0xFFFFFFFF))))
    for form in forms:
        assert judge(form) is not None, form


@pytest.mark.parametrize("text", ["", "example.org", "1.2.3", "08.8.8.8", "8.8.8.8/32", "::g", "1" * 500])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert TargetPolicy().judge()(text) is not None


def test_what_the_node_allows_is_measured_and_nothing_beside_it() -> None:
    judge = TargetPolicy(allow=["10.1.0.0/16"]).judge()
    assert judge("10.1.2.3") is None
    assert judge("::ffff:10.1.2.3") is None
    assert judge("10.2.0.1") is not None


def test_a_denied_network_is_refused_even_where_it_is_allowed_or_public() -> None:
    judge = TargetPolicy(allow=["0.0.0.0/0"], deny=["8.8.8.0/24", "10.0.0.5"]).judge()
    assert judge("8.8.8.8") is not None
    assert judge("::ffff:10.0.0.5") is not None
    assert judge("10.0.0.6") is None


def test_the_networks_own_servers_are_refused_unless_the_node_allows_them() -> None:
    own = infrastructure("nats://8.8.4.4:4222, tls://[2001:4860:4860::8844]:4222")
    refusal = TargetPolicy(own=own).judge()("8.8.4.4")
    assert refusal is not None
    assert "infrastructure" in refusal.detail
    assert TargetPolicy(own=own).judge()("2001:4860:4860::8844") is not None
    assert TargetPolicy(own=own, allow=["8.8.4.4"]).judge()("8.8.4.4") is None


def test_a_self_test_may_use_the_node_itself_and_no_more() -> None:
    judge = TargetPolicy(deny=["127.0.0.53"]).with_loopback().judge()
    assert judge("127.0.0.1") is None
    assert judge("127.0.0.53") is not None
    assert judge("192.168.0.1") is not None


def test_the_nodes_own_name_servers_are_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# local\nnameserver 10.0.0.2\nnameserver fe80::53%eth0\nnameserver nonsense\nsearch example.org\n")
    assert resolver_addresses(file) == ["10.0.0.2/32", "fe80::53/128"]
    assert resolver_addresses(tmp_path / "absent") == []
    assert read_networks(["resolvers", "10.9.0.0/16"], at="x", resolv_conf=file) == [
        "10.0.0.2/32",
        "fe80::53/128",
        "10.9.0.0/16",
    ]


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "example.org", "", "10.0.0.0/33"])
def test_a_wrong_entry_is_named_with_its_rule(entry: str) -> None:
    with pytest.raises(InvalidField, match=r"MMN_X\[1\]: must be an address, a network"):
        read_networks(["10.0.0.0/8", entry], at="MMN_X")
