from __future__ import annotations

import asyncio

import pytest

from runtime.sdk import Blame, Breakers, Code, Measured, Report, failed, guarded


class Nothing(Report, frozen=True):
    pass


async def dead() -> Measured[Nothing]:
    return Measured(failure=failed(Code.TIMEOUT))


async def alive() -> Measured[Nothing]:
    return Measured(data=Nothing())


async def unresolved() -> Measured[Nothing]:
    return Measured(failure=failed(Code.NAME_NOT_FOUND))


async def test_a_target_that_fails_again_and_again_is_not_tried() -> None:
    breakers = Breakers(fail_max=3)
    for _ in range(3):
        measured = await guarded(breakers.get("a"), dead)
        assert measured.failure == failed(Code.TIMEOUT)
    refused = await guarded(breakers.get("a"), alive, target="name", address="a")
    assert refused.failure is not None
    assert (refused.failure.code, refused.failure.blame) == (Code.BREAKER_OPEN, Blame.TARGET)
    assert (refused.target, refused.address) == ("name", "a")
    assert breakers.open() == ["a"]
    assert (await guarded(breakers.get("b"), alive)).failure is None


async def test_a_target_is_tried_again_after_its_pause() -> None:
    breakers = Breakers(fail_max=1, reset_timeout=0)
    await guarded(breakers.get("a"), dead)
    assert (await guarded(breakers.get("a"), alive)).failure is None
    assert breakers.open() == []


async def test_a_success_in_between_starts_the_count_again() -> None:
    breakers = Breakers(fail_max=2)
    for attempt in (dead, alive, dead, alive, dead):
        await guarded(breakers.get("a"), attempt)
    assert breakers.open() == []


async def test_failures_that_others_caused_do_not_count() -> None:
    breakers = Breakers(fail_max=1)
    await guarded(breakers.get("a"), unresolved)
    assert breakers.open() == []


@pytest.mark.parametrize("error", [asyncio.CancelledError, ZeroDivisionError])
async def test_cancellation_and_faults_pass_through_and_do_not_count(error: type[BaseException]) -> None:
    async def broken() -> Measured[Nothing]:
        raise error

    breakers = Breakers(fail_max=1)
    with pytest.raises(error):
        await guarded(breakers.get("a"), broken)
    assert breakers.open() == []


async def test_only_so_many_targets_are_remembered_and_open_ones_longest() -> None:
    breakers = Breakers(fail_max=1, limit=3)
    await guarded(breakers.get("dead"), dead)
    for n in range(10):
        await guarded(breakers.get(str(n)), alive)
    assert breakers.open() == ["dead"]
    assert len(breakers._known) == 3
