from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.targets import Field, Kind, fields, host_of, prefix_of, read

MARKED: dict[str, Any] = {
    "properties": {
        "target": {"type": "string"},
        "page": {"type": "string", "x-mmn-target": "url"},
        "by": {"anyOf": [{"type": "string", "x-mmn-target": "server"}, {"type": "null"}], "default": None},
        "resolver": {
            "type": "string",
            "x-mmn-target": "host",
            "x-mmn-not-targets": ["system"],
            "default": "system",
        },
        "count": {"type": "integer", "x-mmn-target": "host"},
    }
}


def hosts(params: dict[str, Any]) -> dict[str, str]:
    return {target.field: target.host for target in read(fields(MARKED), params)}


def test_marked_strings_and_one_called_target_name_whom_a_job_measures() -> None:
    assert [(field.name, field.kind) for field in fields(MARKED)] == [
        ("target", "host"),
        ("page", "url"),
        ("by", "server"),
        ("resolver", "host"),
    ]
    given_params = {"target": "A.example.", "page": "https://B.example:8443/x", "by": "[2001:db8::1]:53", "count": 1}
    assert hosts(given_params) == {"target": "a.example", "page": "b.example", "by": "2001:db8::1"}


def test_a_value_that_is_no_target_and_one_of_another_type_count_for_nothing() -> None:
    assert hosts({"resolver": "system", "by": None, "target": 7, "page": "not a url"}) == {}
    assert hosts({"resolver": "192.0.2.1"}) == {"resolver": "192.0.2.1"}


def test_the_default_of_the_schema_counts_when_the_parameter_is_left_out() -> None:
    schema = {"properties": {"target": {"type": "string", "default": "192.0.2.7"}}}
    assert [target.host for target in read(fields(schema), {})] == ["192.0.2.7"]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": 5},
        {"properties": []},
        {"properties": {"target": None}},
        {"properties": {"target": {"type": ["string"]}}},
        {"properties": {"x": {"type": "string", "x-mmn-target": "planet"}}},
        {"properties": {"x": {"type": "string", "x-mmn-target": ["host"]}}},
        {"properties": {"x": {"anyOf": "no", "oneOf": [5, None]}}},
    ],
    ids=str,
)
def test_an_unsound_schema_names_no_target(schema: dict[str, Any]) -> None:
    assert fields(schema) == ()


def test_a_schema_of_a_thousand_targets_is_cut_short() -> None:
    schema = {"properties": {f"t{number}": {"type": "string", "x-mmn-target": "host"} for number in range(1000)}}
    assert len(fields(schema)) == 16


@pytest.mark.parametrize(
    ("value", "kind", "host"),
    [
        ("Example.COM.", "host", "example.com"),
        ("[::1]", "host", "::1"),
        ("bücher.example", "host", "xn--bcher-kva.example"),
        ("http://[2001:DB8::1]:80/x", "url", "2001:db8::1"),
        ("http://user@Host.example/", "url", "host.example"),
        ("http://127%2e0.0.1/", "url", "127.0.0.1"),
        ("http://[broken", "url", ""),
        ("192.0.2.1:53", "server", "192.0.2.1"),
        ("2001:db8::1", "server", "2001:db8::1"),
        ("[2001:db8::1]:53", "server", "2001:db8::1"),
        ("ns.example:853", "server", "ns.example"),
    ],
)
def test_the_host_is_found_in_every_kind_of_value(value: str, kind: Kind, host: str) -> None:
    assert host_of(value, kind) == host


@pytest.mark.parametrize(
    ("host", "prefix"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::1", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("example.com", "example.com"),
        ("1.2.3.4.5", "1.2.3.4.5"),
        # What carries an IPv4 address, and what the C library reads as one, is that address.
        ("::ffff:192.0.2.5", "192.0.2.0/24"),
        ("64:ff9b::c000:205", "192.0.2.0/24"),
        ("2002:c000:205::1", "192.0.2.0/24"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.0/24"),
        ("127.1", "127.0.0.0/24"),
        ("0x7f000001", "127.0.0.0/24"),
        ("2130706433", "127.0.0.0/24"),
        ("0177.0.0.1", "127.0.0.0/24"),
        ("１２７.0.0.1", "127.0.0.0/24"),  # noqa: RUF001  # full-width digits are the point
    ],
)
def test_a_target_counts_by_its_network_in_whatever_spelling(host: str, prefix: str) -> None:
    assert prefix_of(host_of(host, "host")) == prefix


@given(st.ip_addresses(v=4), st.integers(0, 255))
def test_neighbours_in_a_24_share_a_prefix_whichever_way_they_are_written(address: object, last: int) -> None:
    assert isinstance(address, IPv4Address)
    number = int(address)
    neighbour = IPv4Address(number >> 8 << 8 | last)
    assert prefix_of(str(number)) == prefix_of(str(neighbour)) == prefix_of(f"::ffff:{neighbour}")


@given(st.ip_addresses(v=6), st.integers(0, 2**80 - 1))
def test_neighbours_in_a_48_share_a_prefix(address: object, rest: int) -> None:
    assert isinstance(address, IPv6Address)
    neighbour = IPv6Address(int(address) >> 80 << 80 | rest)
    if "." not in prefix_of(str(address)) and "." not in prefix_of(str(neighbour)):
        assert prefix_of(str(address)) == prefix_of(str(neighbour))


@given(st.text(max_size=300), st.sampled_from(["host", "url", "server"]))
def test_no_value_whatever_breaks_the_reading(value: str, kind: Kind) -> None:
    found = read((Field(name="x", kind=kind),), {"x": value})
    assert all(prefix_of(target.host) for target in found)
