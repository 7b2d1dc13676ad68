"""Wait for a condition with a deadline, instead of sleeping and hoping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

NOTHING = object()


@overload
async def eventually(check: Callable[[], Awaitable[T]], *, within: float = 5.0, every: float = 0.02) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, within: float = 5.0, every: float = 0.02) -> T: ...
async def eventually(check: Callable[[], object], *, within: float = 5.0, every: float = 0.02) -> object:
    """Call `check`, plain or async, until it returns something true, and return that.

    An exception means "not yet". A check that hangs is cut off at the deadline.
    Raises AssertionError with what was last seen when `within` seconds have passed.
    """
    last: object = NOTHING
    try:
        async with asyncio.timeout(within):
            while True:
                try:
                    value = check()
                    if inspect.isawaitable(value):
                        value = await value
                    if value:
                        return value
                    last = value
                except Exception as error:  # noqa: BLE001 (whatever it is, the next attempt may succeed)
                    last = error
                await asyncio.sleep(every)
    except TimeoutError:
        raise _too_late(check, within, last) from (last if isinstance(last, Exception) else None)


def eventually_sync(check: Callable[[], T], *, within: float = 5.0, every: float = 0.02) -> T:
    """Do the same for code that runs no event loop; a check that hangs is not cut off."""
    last: object = NOTHING
    deadline = time.monotonic() + within
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except Exception as error:  # noqa: BLE001 (whatever it is, the next attempt may succeed)
            last = error
        if time.monotonic() >= deadline:
            raise _too_late(check, within, last) from (last if isinstance(last, Exception) else None)
        time.sleep(every)


def _too_late(check: Callable[[], object], within: float, last: object) -> AssertionError:
    name = getattr(check, "__qualname__", repr(check))
    if last is NOTHING:
        return AssertionError(f"{name}: no answer at all within {within} s")
    if isinstance(last, Exception):
        return AssertionError(f"{name}: still failing after {within} s: {last!r}")
    return AssertionError(f"{name}: not true within {within} s; last seen: {last!r}")
