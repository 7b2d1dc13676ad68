"""Whom a job would measure, read out of its parameters by the function's own JSON Schema.

A string property with the keyword `x-mmn-target` names a target: a `host` (name or address), a
`url`, or a `server` (host with or without a port). A string property called `target` needs no
mark. Names are read as the system's resolver reads them, so that one target has one spelling.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, get_args
from urllib.parse import unquote, urlsplit

from msgspec import Struct

Kind = Literal["host", "url", "server"]

KEYWORD: Final = "x-mmn-target"
"""Marks a property as a target; its value is the kind."""
KEYWORD_BESIDES: Final = "x-mmn-not-targets"
"""Values of a marked property that name no target, such as `system` for the node's own name servers."""
UNMARKED: Final = "target"

_KINDS: Final = get_args(Kind)
_MOST_FIELDS = 16
_MOST_BESIDES = 16
_LONGEST_HOST = 255
_LONGEST_URL = 16 * 1024
_IPV4_AS_NUMBERS = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Field(Struct, frozen=True, kw_only=True):
    """One property that names a target. `default` applies when the parameter is left out."""

    name: str
    kind: Kind
    besides: frozenset[str] = frozenset()
    default: str | None = None


class Target(Struct, frozen=True, kw_only=True):
    """A target as it was given: in which parameter, and the host in it in lower case."""

    field: str
    host: str


def fields(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """The properties that name targets, at most 16. Unsound parts of a schema name none."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return ()
    found = (_field(name, node) for name, node in properties.items())
    return tuple(field for field in found if field is not None)[:_MOST_FIELDS]


def _field(name: str, node: object) -> Field | None:
    for part in _alternatives(node):
        kind = part.get(KEYWORD, "host" if name == UNMARKED else None)
        if part.get("type") != "string" or kind not in _KINDS:
            continue
        besides = part.get(KEYWORD_BESIDES, [])
        default = node.get("default") if isinstance(node, Mapping) else None
        return Field(
            name=name,
            kind=kind,
            besides=frozenset(word for word in besides[:_MOST_BESIDES] if isinstance(word, str))
            if isinstance(besides, list)
            else frozenset(),
            default=default if isinstance(default, str) else None,
        )
    return None


def _alternatives(node: object) -> Iterator[Mapping[str, Any]]:
    """A property's schema, and those of a union: `str | None` says its keywords inside."""
    if not isinstance(node, Mapping):
        return
    yield node
    for keyword in ("anyOf", "oneOf"):
        parts = node.get(keyword)
        yield from (part for part in parts if isinstance(part, Mapping)) if isinstance(parts, list) else ()


def read(marked: tuple[Field, ...], params: Mapping[str, Any]) -> list[Target]:
    """The targets that these parameters name, in the order of the schema."""
    found: list[Target] = []
    for field in marked:
        value = params.get(field.name, field.default)
        if not isinstance(value, str) or value in field.besides:
            continue
        host = host_of(value, field.kind)
        if host:
            found.append(Target(field=field.name, host=host))
    return found


def host_of(value: str, kind: Kind) -> str:
    """The host in a value, in lower case; empty when there is none."""
    if kind == "url":
        return _clean(_host_of_url(value))
    if kind == "server":
        return _clean(_host_of_server(value))
    return _clean(value)


def _host_of_url(url: str) -> str:
    try:
        return unquote(urlsplit(url[:_LONGEST_URL].strip()).hostname or "")
    except ValueError:
        return ""


def _host_of_server(server: str) -> str:
    if server.startswith("["):
        return server[1:].partition("]")[0]
    # A bare IPv6 address has more than one colon, and no port.
    return server if server.count(":") > 1 else server.partition(":")[0]


def _clean(host: str) -> str:
    host = host.strip()[:_LONGEST_HOST]
    if not host.isascii():
        try:
            # As Python's resolver does: full-width digits and dots become plain ones.
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            host = host.casefold()
    return host.strip("[]").rstrip(".").lower()


def address_of(host: str) -> Address | None:
    """The address that a host is, in any spelling the C library takes (`127.1`, `0x7f000001`); None for a name.

    Addresses that only carry an IPv4 address (mapped, NAT64, 6to4, Teredo) are that one.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _IPV4_AS_NUMBERS.fullmatch(host):
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


@lru_cache(maxsize=8192)
def prefix_of(host: str) -> str:
    """The network that politeness counts by: /24 of IPv4, /48 of IPv6, else the name itself."""
    address = address_of(host)
    if address is None:
        return host
    bits = 24 if isinstance(address, ipaddress.IPv4Address) else 48
    # Through the number, since a zone such as %eth0 is no part of a network.
    return str(ipaddress.ip_network(f"{type(address)(int(address))}/{bits}", strict=False))
