"""Every other test trusts `eventually`, so it is tested itself."""

import asyncio
from collections.abc import Callable

import pytest

from tests.kit.eventually import eventually, eventually_sync


def counting_to(limit: int) -> Callable[[], int]:
    """Return a check that is false until it was called `limit` times."""
    calls = iter(range(1, 1000))

    def check() -> int:
        count = next(calls)
        return count if count >= limit else 0

    return check


def always_failing() -> bool:
    raise ConnectionError("nobody listens")


async def test_returns_the_first_true_value() -> None:
    assert await eventually(counting_to(3), every=0) == 3
    assert eventually_sync(counting_to(3), every=0) == 3


async def test_accepts_an_async_check() -> None:
    async def check() -> str:
        await asyncio.sleep(0)
        return "ready"

    assert await eventually(check) == "ready"


async def test_says_what_was_last_seen_when_time_is_up() -> None:
    with pytest.raises(AssertionError, match=r"last seen: \[\]"):
        await eventually(list[int], within=0.01, every=0.001)
    with pytest.raises(AssertionError, match=r"last seen: \[\]"):
        eventually_sync(list[int], within=0.01, every=0.001)


async def test_an_exception_means_not_yet_and_is_kept_as_the_cause() -> None:
    with pytest.raises(AssertionError, match="nobody listens") as refused:
        await eventually(always_failing, within=0.01, every=0.001)
    assert isinstance(refused.value.__cause__, ConnectionError)
    with pytest.raises(AssertionError, match="nobody listens"):
        eventually_sync(always_failing, within=0.01, every=0.001)


async def test_a_hanging_check_is_cut_off() -> None:
    with pytest.raises(AssertionError, match="no answer at all"):
        await eventually(asyncio.Event().wait, within=0.01)
