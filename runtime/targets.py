"""Which addresses a node's functions may measure: pure decisions over the lists that its operator wrote.

What is not on the public Internet is refused unless the node allows it: the node must be no way into the
networks around it (RFC 6890, RFC 8190 and the metadata services of clouds, which are link-local). Addresses that carry another one inside
are judged by that one, so an IPv6 form opens nothing that its IPv4 form does not.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from contracts.errors import InvalidField
from contracts.failure import Code, Failure, failed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RESOLVERS: Final = "resolvers"
"""In a list, stands for the node's own name servers, as resolv.conf names them."""
RESOLV_CONF: Final = Path("/etc/resolv.conf")
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_MOST_ENTRIES: Final = 1000

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_KINDS: Final[tuple[tuple[str, Callable[[Address], bool]], ...]] = (
    ("loopback", lambda address: address.is_loopback),
    ("link-local", lambda address: address.is_link_local),
    ("multicast", lambda address: address.is_multicast),
    ("unspecified", lambda address: address.is_unspecified),
    ("private or reserved", lambda address: not address.is_global or getattr(address, "is_site_local", False)),
)


class TargetPolicy(Struct, frozen=True, kw_only=True):
    """What a node allows and denies, as networks in text. The first list that holds an address decides.

    `deny`: never; `allow`: although it is not public, or is the node's own infrastructure; `own`: the
    infrastructure, such as its NATS servers.
    """

    allow: list[str] = []
    deny: list[str] = []
    own: list[str] = []

    def judge(self) -> Callable[[str], Failure | None]:
        """The decision over one address, with the lists read once: None when it may be measured."""
        deny, allow, own = (tuple(map(ipaddress.ip_network, some)) for some in (self.deny, self.allow, self.own))

        def decide(text: str) -> Failure | None:
            return _refusal(text, deny, allow, own)

        return decide

    def with_loopback(self) -> TargetPolicy:
        """The same, for a self-test: a function may always try itself on the node that runs it."""
        return TargetPolicy(allow=[*self.allow, *LOOPBACK], deny=self.deny, own=self.own)


def read_networks(entries: Sequence[str], *, at: str, resolv_conf: Path = RESOLV_CONF) -> list[str]:
    """Check a list of addresses, networks and `resolvers`. Raises InvalidField naming the entry and the rule."""
    if len(entries) > _MOST_ENTRIES:
        raise InvalidField(at, f"has {len(entries)} entries, more than {_MOST_ENTRIES}")
    found: list[str] = []
    for number, entry in enumerate(entries):
        if entry == RESOLVERS:
            found += resolver_addresses(resolv_conf)
            continue
        try:
            found.append(str(ipaddress.ip_network(entry)))
        except ValueError as error:
            rule = f"must be an address, a network such as 10.1.0.0/16, or {RESOLVERS!r}: {error}"
            raise InvalidField(f"{at}[{number}]", rule) from error
    return found


def resolver_addresses(resolv_conf: Path = RESOLV_CONF) -> list[str]:
    """The node's own name servers (resolv.conf(5)); none where the file cannot be read."""
    try:
        lines = resolv_conf.read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines)
    named = (row[1].partition("%")[0] for row in words if len(row) > 1 and row[0] == "nameserver")
    return [str(ipaddress.ip_network(name)) for name in named if _parsed(name) is not None]


def infrastructure(nats_url: str) -> list[str]:
    """The addresses of the servers in a NATS URL, as names stand for them now."""
    hosts = (urlsplit(part.strip()).hostname for part in nats_url.split(","))
    found: list[str] = []
    for host in filter(None, hosts):
        try:
            entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            # It is looked up again when it is connected to, and that tells.
            continue
        found += [str(ipaddress.ip_network(str(entry[4][0]).partition("%")[0])) for entry in entries]
    return list(dict.fromkeys(found))


def _parsed(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _refusal(text: str, deny: Iterable[Network], allow: Iterable[Network], own: Iterable[Network]) -> Failure | None:
    # A zone names an interface of the node; the address before it is what is judged.
    address = _parsed(text.partition("%")[0])
    if address is None:
        return failed(Code.TARGET_DENIED, f"{text[:64]!r} is not an address", stage="policy")
    forms = _forms(address)
    if _any_in(forms, deny):
        return _denied(address, "this node's deny list holds it")
    if _any_in(forms, allow):
        return None
    if _any_in(forms, own):
        return _denied(address, "it belongs to the measurement network's own infrastructure")
    for kind, holds in _KINDS:
        if any(holds(form) for form in forms):
            return _denied(address, f"it is {kind}; the node's operator can allow it (MMN_RUNTIME_ALLOW_TARGETS)")
    return None


def _denied(address: Address, why: str) -> Failure:
    return failed(Code.TARGET_DENIED, f"{address} may not be measured: {why}", stage="policy")


def _any_in(forms: Iterable[Address], networks: Iterable[Network]) -> bool:
    listed = list(networks)
    return any(form.version == network.version and form in network for form in forms for network in listed)


def _forms(address: Address) -> list[Address]:
    """The address and those it carries, which is where its packets may end."""
    forms: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.ipv4_mapped is not None:
            # The IPv6 form says nothing of its own: the kernel sends IPv4.
            return [address.ipv4_mapped]
        if address in _NAT64:
            return [low]
        if address.sixtofour is not None:
            forms.append(address.sixtofour)
        elif address.teredo is not None:
            forms += address.teredo
        elif address in _COMPATIBLE and int(address) > 1:
            forms.append(low)
    return forms
