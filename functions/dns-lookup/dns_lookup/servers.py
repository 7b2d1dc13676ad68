"""Which name servers to ask: those the node itself uses, or the one that was named, if the node's policy allows them."""

from __future__ import annotations

from typing import Any

import dns.exception
import dns.resolver

from dns_lookup.question import SYSTEM, LookupParams
from runtime.sdk import CannotMeasure, Code, Context, Failure, Resolved, failed, resolve

RESOLV_CONF = "/etc/resolv.conf"
_NAMED_IN_RESOLV_CONF = 3


async def find_servers(params: LookupParams, ctx: Context) -> list[Resolved] | Failure:
    """Return the servers to ask, at least one, in their order; or why there is none.

    Every address was put before the node's policy. Raises CannotMeasure if the node has no resolver.
    """
    if params.server != SYSTEM:
        found = await resolve(ctx, params.server, params.family)
        return found if isinstance(found, Failure) else [found]
    usable: list[Resolved] = []
    first_refusal: Failure | None = None
    for address in system_addresses():
        if params.family == "auto" or (":" in address) == (params.family == "6"):
            found = await resolve(ctx, address)
            if isinstance(found, Resolved):
                usable.append(found)
            else:
                first_refusal = first_refusal or found
    if usable:
        return usable
    return first_refusal or failed(
        Code.NO_ADDRESS_FAMILY, f"this node uses no name server with an IPv{params.family} address", stage="resolve"
    )


def system_addresses() -> list[str]:
    """Read the addresses of the node's own resolvers, as many as the C library would use (resolv.conf(5))."""
    try:
        resolver = dns.resolver.Resolver(RESOLV_CONF)
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise CannotMeasure(f"this node has no name server in {RESOLV_CONF}; name one in `server`") from error
    return [str(address) for address in resolver.nameservers[:_NAMED_IN_RESOLV_CONF]]


def socket_address(server: Resolved, port: int) -> tuple[Any, ...]:
    """What `connect` takes for a port of this server."""
    host, _, *rest = server.sockaddr
    return (host, port, *rest)
