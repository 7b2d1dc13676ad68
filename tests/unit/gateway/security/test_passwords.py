import asyncio
import threading

import pytest
from argon2 import Type

from contracts.errors import InvalidField, Refused
from gateway.security import passwords
from gateway.security.passwords import Passwords
from tests.kit.eventually import eventually
from tests.unit.gateway.plane import PASSWORD, QUICK


async def test_the_right_password_fits_and_no_other() -> None:
    checker = Passwords(QUICK)
    stored = await checker.hash("ann", PASSWORD)
    assert PASSWORD not in stored
    assert await checker.check(stored, PASSWORD)
    assert not await checker.check(stored, PASSWORD + "!")
    assert not await checker.check("no hash at all", PASSWORD)


async def test_an_unknown_user_costs_a_check_and_never_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    checker = Passwords(QUICK)
    seen: list[str] = []
    matches = checker._matches

    def watched(stored: str, text: str) -> bool:
        seen.append(stored)
        return matches(stored, text)

    monkeypatch.setattr(checker, "_matches", watched)
    assert not await checker.check(None, "no user has this password")
    assert len(seen) == 1


@pytest.mark.parametrize(
    "text", ["", "short", "x" * 2000, "aaaaaaaaaaaaaaa", "Annabel-Lee-1", "xannabel-leex"], ids=range(6)
)
async def test_a_password_that_is_easily_guessed_is_refused(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        await Passwords(QUICK).hash("annabel-lee", text)
    assert caught.value.field == "password"


def test_passwords_are_hashed_as_rfc_9106_says() -> None:
    hasher = Passwords()._hasher
    assert (hasher.type, hasher.time_cost, hasher.memory_cost, hasher.parallelism) == (Type.ID, 3, 64 * 1024, 4)


async def test_a_crowd_is_asked_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_WAITING", 0)
    with pytest.raises(Refused) as caught:
        await Passwords(QUICK).check(None, "x")
    assert (caught.value.code, caught.value.retry_after) == (429, 1.0)


async def test_only_a_few_are_judged_at_once_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    checker, counted = Passwords(QUICK), threading.Lock()
    now = most = 0
    going_on = threading.Event()

    def slow(*_: object) -> bool:
        nonlocal now, most
        with counted:
            now += 1
            most = max(most, now)
        going_on.wait(5)
        with counted:
            now -= 1
        return False

    monkeypatch.setattr(checker, "_matches", slow)
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(checker.check(None, "x"))
        await eventually(lambda: now == passwords._AT_ONCE, within=5)
        going_on.set()
    assert most == passwords._AT_ONCE
