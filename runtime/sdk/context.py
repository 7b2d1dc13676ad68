"""What a running job may ask of its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pybreaker import CircuitBreaker

from contracts.clock import ClockQuality, clock_quality, monotonic_ns
from contracts.failure import Failure
from runtime.sdk.breakers import Breakers
from runtime.sdk.icmp import Family, IcmpSocket, IcmpSockets


class Log(Protocol):
    """A structured logger: a stable event name and fields. A bound structlog logger is one."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class Context(Protocol):
    """The node as one job sees it."""

    @property
    def job(self) -> str:
        """The job's id."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first try of this job, more after a reroute."""
        ...

    @property
    def node(self) -> str:
        """The node's id."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """The node's labels, such as `site` and `asn`."""
        ...

    @property
    def seed(self) -> int:
        """The same for every attempt of this job: seed `random.Random` with it to repeat a job exactly."""
        ...

    @property
    def deadline_ns(self) -> int:
        """When the runtime will cancel this job, on `monotonic_ns`."""
        ...

    @property
    def log(self) -> Log:
        """Log lines of this job, redacted by the runtime."""
        ...

    def time_left(self) -> float:
        """Seconds until the runtime cancels this job, never below 0. Return a bit earlier with what is known."""
        ...

    def progress(self, event: dict[str, Any]) -> None:
        """Tell whoever is watching that something happened. Never blocks; events may be thinned out."""
        ...

    def clock(self) -> ClockQuality:
        """How far the node's wall clock can be trusted now."""
        ...

    def icmp_socket(self, family: Family) -> IcmpSocket:
        """The worker's ICMP socket for IPv4 or IPv6, shared by all its jobs: do not close it.

        Raises CannotMeasure, whose message holds the command that gives the node the privilege.
        """
        ...

    def breaker(self, target: str) -> CircuitBreaker:
        """The worker's circuit breaker for a target; use it through `guarded`."""
        ...

    def admit(self, address: str) -> Failure | None:
        """Ask the node's target policy about an address. A refusal is the failure to return."""
        ...


def _admit_all(_address: str) -> Failure | None:
    return None


def _drop(_event: dict[str, Any]) -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobContext:
    """The Context that workers and `testing.Bench` hand to a function.

    `sockets` and `breakers` belong to the worker and outlive the job; `policy` decides about
    addresses; `on_progress` must return at once and must not raise.
    """

    job: str
    node: str
    deadline_ns: int
    log: Log
    sockets: IcmpSockets
    breakers: Breakers
    attempt: int = 1
    seed: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    on_progress: Callable[[dict[str, Any]], None] = _drop
    policy: Callable[[str], Failure | None] = _admit_all

    def time_left(self) -> float:
        return max(0.0, (self.deadline_ns - monotonic_ns()) / 1e9)

    def progress(self, event: dict[str, Any]) -> None:
        self.on_progress(event)

    def clock(self) -> ClockQuality:
        return clock_quality()

    def icmp_socket(self, family: Family) -> IcmpSocket:
        return self.sockets.get(family)

    def breaker(self, target: str) -> CircuitBreaker:
        return self.breakers.get(target)

    def admit(self, address: str) -> Failure | None:
        return self.policy(address)
