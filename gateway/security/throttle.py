"""How long whoever logs in without success has to wait: per user and per address, ever longer.

Pure: the caller brings the time. The memory is bounded; what was not heard of longest is forgotten.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from contextlib import suppress

from msgspec import Struct

from contracts.errors import Refused

FORGET_S = 900.0
"""Failures are forgotten after so many seconds without another."""
_REMEMBERED = 10_000
_S = 1_000_000_000


class Rule(Struct, frozen=True, kw_only=True):
    """`free` failures cost nothing, the next `first_s`, and each after that twice as much up to `longest_s`."""

    free: int
    first_s: float
    longest_s: float

    def wait_s(self, failures: int) -> float:
        """The wait after so many failures in a row."""
        if failures <= self.free:
            return 0.0
        return float(min(self.longest_s, self.first_s * 2 ** min(failures - self.free - 1, 30)))


BY_USER = Rule(free=5, first_s=1.0, longest_s=30.0)
"""Short at most: a stranger who guesses must not lock the user out."""
BY_ADDRESS = Rule(free=10, first_s=1.0, longest_s=300.0)
"""More is free, since many may share one address."""


class _Record(Struct):
    failures: int = 0
    last_ns: int = 0
    until_ns: int = 0


class _Table:
    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def wait_ns(self, key: str, now_ns: int) -> int:
        found = self._records.get(key)
        return max(0, found.until_ns - now_ns) if found else 0

    def failed(self, key: str, now_ns: int) -> None:
        record = self._records.pop(key, None) or _Record()
        if now_ns - record.last_ns > FORGET_S * _S:
            record.failures = 0
        record.failures += 1
        record.last_ns = now_ns
        record.until_ns = now_ns + int(self._rule.wait_s(record.failures) * _S)
        self._records[key] = record
        if len(self._records) > _REMEMBERED:
            self._records.popitem(last=False)

    def give_back(self, key: str) -> None:
        record = self._records.get(key)
        if record is not None:
            record.failures = max(0, record.failures - 1)
            record.until_ns = 0

    def forgive(self, key: str) -> None:
        self._records.pop(key, None)

    def __len__(self) -> int:
        return len(self._records)


class Throttle:
    """What this gateway remembers of failed logins."""

    def __init__(self) -> None:
        self._users = _Table(BY_USER)
        self._addresses = _Table(BY_ADDRESS)

    def admit(self, user: str, address: str | None, now_ns: int) -> None:
        """Let a try pass and count it as a failure for now, so that a hundred at once are no way around.

        Raises Refused (429) with the time to wait; such a try counts for nothing.
        """
        wait = max(self._users.wait_ns(_name(user), now_ns), self._addresses.wait_ns(network_of(address), now_ns))
        if wait:
            raise Refused(
                429, "too-many-failures", "too many failed logins; try again later", retry_after=round(wait / _S, 1)
            )
        self._users.failed(_name(user), now_ns)
        self._addresses.failed(network_of(address), now_ns)

    def succeeded(self, user: str, address: str | None) -> None:
        """Forget the user's failures, of the address's only this try: it says nothing of the others."""
        self._users.forgive(_name(user))
        self._addresses.give_back(network_of(address))

    def withdrawn(self, user: str, address: str | None) -> None:
        """The try was not judged."""
        self._users.give_back(_name(user))
        self._addresses.give_back(network_of(address))

    @property
    def remembered(self) -> int:
        """How many users and addresses are remembered."""
        return len(self._users) + len(self._addresses)


def _name(user: str) -> str:
    return user[:64]


def network_of(address: str | None) -> str:
    """What stands for an address: itself, or the /64 of IPv6, of which one person has plenty."""
    with suppress(ValueError):
        found = ipaddress.ip_address(address or "")
        if isinstance(found, ipaddress.IPv6Address):
            if found.ipv4_mapped is not None:
                return str(found.ipv4_mapped)
            return str(ipaddress.ip_network((found, 64), strict=False))
        return str(found)
    return "unknown"
