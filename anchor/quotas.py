"""How many jobs a client may submit, and how many a target may get: token buckets by key.

A bucket is kept as its level: what was spent and has not been refilled. Other Anchors' jobs
are charged to it, also beyond the burst, so an overshoot is paid back. Pure: the caller
brings the time.
"""

from __future__ import annotations

import heapq
import ipaddress
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from contracts import targets
from contracts.errors import Refused
from contracts.quotas import BudgetKind

_S: Final = 1_000_000_000
_MS: Final = 1_000_000
TELL_SHARE: Final = 0.05
"""So much of a burst is told to the others at once, not with the next message."""
MOST_KEYS: Final = 10_000
_FORGET_SHARE: Final = 10
_DEEPEST: Final = 2.0
"""A level never goes above this many bursts: nobody is locked out for long by what others tell."""
_EPSILON: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Allowance:
    """Jobs a second in the long run, and jobs at once. A rate of 0 means no limit."""

    rate: float
    burst: float

    @property
    def limited(self) -> bool:
        return self.rate > 0


@dataclass(slots=True)
class _Bucket:
    level: float
    at_ns: int


class Buckets:
    """One bucket per key, all with the same allowance. At most `most` keys: the fullest are forgotten first."""

    def __init__(self, allowance: Allowance, *, most: int = MOST_KEYS) -> None:
        self.allowance = allowance
        self._most = most
        self._deepest = allowance.burst * _DEEPEST
        self._kept: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def level(self, key: str, now_ns: int) -> float:
        """What was spent from a bucket and is not refilled yet."""
        bucket = self._kept.get(key)
        return 0.0 if bucket is None else self._settled(bucket, now_ns)

    def wait_ns(self, key: str, cost: float, now_ns: int) -> int:
        """After how many nanoseconds the cost can be paid; 0 when it can now.

        A cost above the burst is paid by a full bucket.
        """
        if not self.allowance.limited:
            return 0
        room = max(self.allowance.burst - cost, 0.0)
        over = self.level(key, now_ns) - room
        return 0 if over <= _EPSILON else math.ceil(over / self.allowance.rate * _S)

    def spend(self, key: str, cost: float, now_ns: int) -> None:
        """Take from a bucket, whether it holds so much or not."""
        if self.allowance.limited:
            self._set(key, self.level(key, now_ns) + cost, now_ns)

    def charge(self, key: str, spent: float, level: float, now_ns: int) -> None:
        """Another Anchor spent so much, and knows this level. The higher word counts: nobody invents spending."""
        if self.allowance.limited:
            self._set(key, max(self.level(key, now_ns) + spent, level), now_ns)

    def give_back(self, key: str, cost: float, now_ns: int) -> None:
        """What was spent was not used."""
        if key in self._kept:
            self._set(key, max(0.0, self.level(key, now_ns) - cost), now_ns)

    def levels(self, now_ns: int) -> dict[str, float]:
        """Every key that is not full, with its level."""
        found = {key: self._settled(bucket, now_ns) for key, bucket in self._kept.items()}
        return {key: level for key, level in found.items() if level > 0}

    def _settled(self, bucket: _Bucket, now_ns: int) -> float:
        passed_ns = now_ns - bucket.at_ns
        if passed_ns <= 0:
            return bucket.level
        level = bucket.level - passed_ns / _S * self.allowance.rate
        return max(0.0, level)

    def _set(self, key: str, level: float, now_ns: int) -> None:
        level = min(level, self._deepest)
        bucket = self._kept.get(key)
        if bucket is None:
            self._kept[key] = _Bucket(level, now_ns)
            if len(self._kept) > self._most:
                self._forget(now_ns)
        else:
            bucket.level, bucket.at_ns = level, max(bucket.at_ns, now_ns)

    def _forget(self, now_ns: int) -> None:
        self._kept = {key: bucket for key, bucket in self._kept.items() if self._settled(bucket, now_ns) > 0}
        if len(self._kept) > self._most:
            count = len(self._kept) - self._most + self._most // _FORGET_SHARE
            for key in heapq.nsmallest(count, self._kept, key=lambda key: self._settled(self._kept[key], now_ns)):
                del self._kept[key]


def exempting(entries: Iterable[str]) -> Callable[[str], bool]:
    """Whether a host lies in one of these networks, or is one of these names. Raises ValueError for no network."""
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    names: set[str] = set()
    for entry in entries:
        if "/" in entry or targets.address_of(entry) is not None:
            networks.append(ipaddress.ip_network(entry))
        else:
            names.add(targets.host_of(entry, "host"))

    @lru_cache(maxsize=MOST_KEYS)
    def exempt(host: str) -> bool:
        address = targets.address_of(host)
        return host in names if address is None else any(address in network for network in networks)

    return exempt


Account = tuple[BudgetKind, str]
"""One bucket: what kind, and whose."""


@dataclass(slots=True)
class Quotas:
    """Both budgets of one Anchor. `exempt` says which targets have none.

    `pending` is what was spent since it was told to the others last; `hurry` is called when that is much.
    """

    client: Allowance
    target: Allowance
    exempt: Callable[[str], bool] = lambda _: False
    hurry: Callable[[], None] = lambda: None
    most: int = MOST_KEYS
    pending: dict[Account, float] = field(default_factory=dict)
    buckets: dict[BudgetKind, Buckets] = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = {"client": Buckets(self.client, most=self.most), "target": Buckets(self.target, most=self.most)}

    def accounts(self, client: str, hosts: Iterable[str]) -> list[Account]:
        """The budgets that a job of this client with these targets is paid from."""
        found: list[Account] = [("client", client)] if self.client.limited else []
        if self.target.limited:
            for host in hosts:
                account: Account = ("target", targets.prefix_of(host))
                if account not in found and not self.exempt(host):
                    found.append(account)
        return found

    def take(self, accounts: Collection[Account], now_ns: int, *, cost: float = 1.0) -> None:
        """Pay a job from all of its budgets, or raise Refused (429) and take nothing from any."""
        longest, whose = 0, None
        for account in accounts:
            wait_ns = self.buckets[account[0]].wait_ns(account[1], cost, now_ns)
            if wait_ns > longest:
                longest, whose = wait_ns, account
        if whose is not None:
            raise self._refusal(*whose, longest)
        for account in accounts:
            buckets = self.buckets[account[0]]
            buckets.spend(account[1], cost, now_ns)
            told = self.pending[account] = self.pending.get(account, 0.0) + cost
            if told >= buckets.allowance.burst * TELL_SHARE:
                self.hurry()

    def give_back(self, accounts: Collection[Account], now_ns: int, *, cost: float = 1.0) -> None:
        """The job was not stored after all. What others were told of it already stays spent."""
        for kind, key in accounts:
            back = min(cost, self.pending.get((kind, key), 0.0))
            if back > 0:
                self.buckets[kind].give_back(key, back, now_ns)
                self.pending[kind, key] -= back

    def charge(self, account: Account, spent: float, level: float, now_ns: int) -> None:
        """Another Anchor spent from a budget."""
        kind, key = account
        self.buckets[kind].charge(key, spent, level, now_ns)

    def _refusal(self, kind: BudgetKind, key: str, wait_ns: int) -> Refused:
        allowance = self.buckets[kind].allowance
        # Upwards, since the header that carries it has three decimals.
        after = math.ceil(wait_ns / _MS) / 1000
        rule = f"{allowance.rate:g} jobs a second, {allowance.burst:g} at once"
        whose = f"{kind} {key!r}" if key else "clients without a name"
        message = f"the budget of {whose} is spent: {rule}; try again in {after:g} s"
        return Refused(429, f"{kind}-budget", message, retry_after=after)
