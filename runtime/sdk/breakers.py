"""One circuit breaker per target, so that dead targets fail fast instead of holding slots."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any, TypeVar

from msgspec import Struct
from pybreaker import STATE_CLOSED, STATE_OPEN, CircuitBreaker, CircuitBreakerError

from contracts.failure import Blame, Code, Failure, failed
from runtime.sdk.measured import Measured

R = TypeVar("R", bound=Struct)


class _DeadTarget(Exception):
    """Carries a measured failure through pybreaker, which only counts exceptions."""

    def __init__(self, measured: Measured[Any]) -> None:
        super().__init__()
        self.measured = measured


def _not_the_target(error: BaseException) -> bool:
    """Say that an exception tells nothing about the target: a cancelled job, a fault of the function."""
    return not isinstance(error, _DeadTarget)


_MOST_REPORTED = 32
"""A health report goes out every second, and has to stay small."""


class Breakers:
    """The breakers of one worker.

    A target opens after `fail_max` failures in a row and is tried again after `reset_timeout`
    seconds. At most `limit` targets are remembered: the least recently used healthy one goes first.
    """

    def __init__(self, *, fail_max: int = 5, reset_timeout: float = 30.0, limit: int = 4096) -> None:
        self._fail_max = fail_max
        self._reset_timeout = reset_timeout
        self._limit = limit
        self._known: OrderedDict[str, CircuitBreaker] = OrderedDict()

    def get(self, target: str) -> CircuitBreaker:
        """Return the breaker of a target, made when first asked for."""
        breaker = self._known.get(target)
        if breaker is None:
            breaker = CircuitBreaker(
                fail_max=self._fail_max,
                reset_timeout=self._reset_timeout,
                exclude=[_not_the_target],
                name=target,
                throw_new_error_on_trip=False,
            )
            if len(self._known) >= self._limit:
                self._forget_one()
            self._known[target] = breaker
        self._known.move_to_end(target)
        return breaker

    def open(self) -> list[str]:
        """Name some of the targets that are not tried at present, for health reports."""
        found = (target for target, breaker in self._known.items() if breaker.current_state == STATE_OPEN)
        return list(islice(found, _MOST_REPORTED))

    def _forget_one(self) -> None:
        for target, breaker in self._known.items():
            if breaker.current_state == STATE_CLOSED and breaker.fail_counter == 0:
                del self._known[target]
                return
        self._known.popitem(last=False)


def _blames_target(failure: Failure) -> bool:
    return failure.blame is Blame.TARGET


async def guarded(
    breaker: CircuitBreaker,
    attempt: Callable[[], Awaitable[Measured[R]]],
    *,
    target: str | None = None,
    address: str | None = None,
    counts: Callable[[Failure], bool] = _blames_target,
) -> Measured[R]:
    """Run an attempt unless the target's breaker is open; then the result says `breaker-open`.

    Results whose failure `counts`, by default those that blame the target, count against it.
    Cancellation and faults do not: they tell nothing about the target.
    """
    try:
        with breaker.calling():
            measured = await attempt()
            if measured.failure is not None and counts(measured.failure):
                raise _DeadTarget(measured)
            return measured
    except _DeadTarget as dead:
        return dead.measured
    except CircuitBreakerError:
        detail = (
            f"not tried: the last {breaker.fail_max} attempts failed; "
            f"it is tried again {breaker.reset_timeout:g} s after the last one"
        )
        return Measured(failure=failed(Code.BREAKER_OPEN, detail), target=target, address=address)
