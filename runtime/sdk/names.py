"""From the target as given to the one address that is measured."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any, Literal

from msgspec import Struct

from contracts.clock import monotonic_ns
from contracts.failure import Code, Failure, failed
from runtime.sdk.context import Context
from runtime.sdk.icmp import Family

_FAMILIES = {"auto": socket.AF_UNSPEC, "4": socket.AF_INET, "6": socket.AF_INET6}
_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY}


class Resolved(Struct, frozen=True, kw_only=True):
    """A target and the address chosen for it, which the node's policy allows.

    `sockaddr` is what `sendto` and `connect` take, with port 0. `duration_ns` is None if the
    target was an address already, so no name was looked up.
    """

    target: str
    address: str
    family: Family
    sockaddr: tuple[Any, ...]
    addresses: list[str]
    duration_ns: int | None


async def resolve(
    ctx: Context, target: str, family: Literal["auto", "4", "6"] = "auto", *, timeout: float = 5.0
) -> Resolved | Failure:
    """Look a target up with the node's own resolver, and check it against the node's policy.

    A name that does not resolve, or an address that the node refuses, is a result: the Failure
    to return. `auto` takes the first address in the order of RFC 6724 that the node allows. Measure
    `Resolved.address` and never the name again: it is the address that was checked, and so are `addresses`.
    """
    started = monotonic_ns()
    wanted = _FAMILIES[family]
    try:
        if _is_address(target):
            found = socket.getaddrinfo(target, 0, family=wanted, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        else:
            async with asyncio.timeout(min(timeout, ctx.time_left())):
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(target, 0, family=wanted, type=socket.SOCK_DGRAM)
    except TimeoutError:
        return failed(Code.NAME_TIMEOUT, f"no answer from the node's resolver in {timeout:g} s", stage="resolve")
    except (socket.gaierror, UnicodeError) as error:
        return _classified(target, family, error)
    duration = None if _is_address(target) else monotonic_ns() - started
    refusals = {str(entry[4][0]): ctx.admit(str(entry[4][0])) for entry in found}
    allowed = [entry for entry in found if refusals[str(entry[4][0])] is None]
    if not allowed:
        return next(refusal for refusal in refusals.values() if refusal is not None)
    chosen, _, _, _, sockaddr = allowed[0]
    return Resolved(
        target=target,
        address=str(sockaddr[0]),
        family=4 if chosen == socket.AF_INET else 6,
        sockaddr=tuple(sockaddr),
        addresses=list(dict.fromkeys(str(entry[4][0]) for entry in allowed)),
        duration_ns=duration,
    )


def _is_address(target: str) -> bool:
    try:
        ipaddress.ip_address(target)
    except ValueError:
        return False
    return True


def _classified(target: str, family: str, error: socket.gaierror | UnicodeError) -> Failure:
    if isinstance(error, UnicodeError):
        return failed(Code.NAME_NOT_FOUND, "not a well-formed host name", stage="resolve")
    if _is_address(target):
        return failed(Code.BAD_PARAMS, f"the target is not an address of family {family}", stage="resolve")
    if error.errno in _NO_SUCH_NAME:
        kind = "address" if family == "auto" else f"IPv{family} address"
        return failed(Code.NAME_NOT_FOUND, f"the name does not exist or has no {kind}", stage="resolve")
    if error.errno == socket.EAI_AGAIN:
        return failed(Code.NAME_TIMEOUT, "the node's resolver did not answer", stage="resolve")
    return failed(Code.NAME_FAILURE, f"the node's resolver failed: {error.strerror}", stage="resolve")
