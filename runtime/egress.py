"""Where a node's workers may send: rules of the packet filter for the users that they have, and for nobody else.

One table, named by the first of the users, is laid anew when the runtime starts, and removed when it stops. It says
nothing of any packet but those of workers, so whatever else is filtered on the host stays as it is.
"""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from contracts.errors import MmnError
from runtime.box import Users
from runtime.targets import Network, TargetPolicy

_PLACES: Final = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
_PATIENCE_S: Final = 5.0
_REJECT: Final = "reject with icmpx type admin-prohibited"

_NOT_PUBLIC_4: Final = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4"),
)
"""This host, private, shared, link-local (with the clouds' metadata), documentation, multicast, reserved (RFC 6890)."""

_NOT_PUBLIC_6: Final = (
    *("::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "fc00::/7", "fe80::/10", "fec0::/10"),
    "ff00::/8",
)
"""This host and those written like IPv4, local translation, discard, Teredo and the like, documentation, local, multicast."""


class NotEnforced(MmnError):
    """The rules could not be laid. The message says why."""


class Wish(Struct, frozen=True, kw_only=True):
    """What the rules are to say: for which users, where NATS and the node's resolvers are, what the node allows."""

    users: Users
    bus_ports: Sequence[int]
    resolvers: Sequence[str]
    targets: TargetPolicy = TargetPolicy()


def not_public() -> list[Network]:
    """Networks that no worker may send to unless the node allows it, in each of the ways they can be written."""
    found: list[Network] = [ipaddress.ip_network(text) for text in (*_NOT_PUBLIC_4, *_NOT_PUBLIC_6)]
    for text in _NOT_PUBLIC_4:
        inner = ipaddress.IPv4Network(text)
        # Translators (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address within one of IPv6.
        found.append(_within(ipaddress.IPv6Network("64:ff9b::/96"), inner))
        found.append(_within(ipaddress.IPv6Network("2002::/16"), inner))
    return found


def _within(outer: ipaddress.IPv6Network, inner: ipaddress.IPv4Network) -> ipaddress.IPv6Network:
    rest = 128 - outer.prefixlen - 32
    address = int(outer.network_address) | int(inner.network_address) << rest
    return ipaddress.IPv6Network((address, outer.prefixlen + inner.prefixlen))


def table(users: Users) -> str:
    """The one table for these users: two nodes of one name on a host have two."""
    return f"inet mmn_{users.first}"


def ruleset(wish: Wish) -> str:
    """The commands for nft that replace the table, all at once. Pure."""
    name = table(wish.users)
    lines = [f"add table {name}", f"delete table {name}", f"table {name} {{"]
    sets = {
        "deny": _networks(wish.targets.deny),
        "allow": _networks(wish.targets.allow),
        "own": _networks(wish.targets.own),
        "local": not_public(),
    }
    for name, members in sets.items():
        for family in (4, 6):
            lines += _set(f"{name}{family}", [member for member in members if member.version == family], family)
    lines += [
        "  chain output {",
        "    type filter hook output priority filter; policy accept;",
        f"    meta skuid {wish.users.first}-{wish.users.last} jump worker",
        "  }",
        "  chain worker {",
    ]
    if wish.bus_ports:
        # By port alone: the address behind the name of a NATS server may change.
        lines.append(f"    tcp dport {{ {', '.join(str(port) for port in sorted(set(wish.bus_ports)))} }} accept")
    for family, word in ((4, "ip"), (6, "ip6")):
        servers = sorted({str(server) for server in _networks(wish.resolvers) if server.version == family})
        if servers:
            lines.append(f"    {word} daddr {{ {', '.join(servers)} }} meta l4proto {{ tcp, udp }} th dport 53 accept")
    for name, verdict in (("deny", _REJECT), ("allow", "accept"), ("own", _REJECT), ("local", _REJECT)):
        lines += [f"    ip daddr @{name}4 {verdict}", f"    ip6 daddr @{name}6 {verdict}"]
    # A host's own public addresses lead to itself as well.
    lines += [f"    meta oifname lo {_REJECT}", "  }", "}", ""]
    return "\n".join(lines)


def _networks(texts: Sequence[str]) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


def _set(name: str, members: Sequence[Network], family: int) -> list[str]:
    collapsed = ipaddress.collapse_addresses(members)  # type: ignore[type-var]  # all of one family
    elements = ", ".join(str(member) for member in collapsed)
    kind = f"    type ipv{family}_addr; flags interval;"
    return [f"  set {name} {{", kind + (f" elements = {{ {elements} }}" if elements else ""), "  }"]


class Egress:
    """The rules of one node in the kernel."""

    def __init__(self) -> None:
        self._laid: Wish | None = None

    async def lay(self, wish: Wish) -> None:
        """Make the rules hold, if they do not yet. Raises NotEnforced."""
        if wish != self._laid:
            await _nft(ruleset(wish))
            self._laid = wish

    async def lift(self, users: Users) -> None:
        """Remove the rules, those that an earlier runtime left too. Raises NotEnforced."""
        self._laid = None
        await _nft(f"add table {table(users)}\ndelete table {table(users)}\n")

    async def holds(self, users: Users) -> bool:
        """Whether the table is still there."""
        try:
            await _nft(f"list chain {table(users)} worker\n")
        except NotEnforced:
            return False
        return True

    def forget(self) -> None:
        """What was laid may be gone: lay it again when it is next asked for."""
        self._laid = None


async def _nft(commands: str) -> None:
    program = shutil.which("nft", path=_PLACES)
    if program is None:
        raise NotEnforced("nft is not installed")
    process = await asyncio.create_subprocess_exec(
        *(program, "-f", "-"),
        env={},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            _, said = await process.communicate(commands.encode())
    except TimeoutError:
        raise NotEnforced("nft does not answer") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        first = (said.decode(errors="replace").strip().splitlines() or ["no reason given"])[0]
        raise NotEnforced(f"nft: {first[:200]}")
