import pytest

from contracts.errors import InvalidField, Refused
from gateway.security import passwords
from gateway.security.passwords import Passwords
from tests.unit.gateway.plane import PASSWORD, QUICK


async def test_the_right_password_fits_and_no_other() -> None:
    checker = Passwords(QUICK)
    stored = await checker.hash(PASSWORD)
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


@pytest.mark.parametrize("text", ["", "short", "x" * 2000])
async def test_a_password_has_a_fit_length(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        await Passwords(QUICK).hash(text)
    assert caught.value.field == "password"


async def test_a_crowd_is_asked_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_WAITING", 0)
    with pytest.raises(Refused) as caught:
        await Passwords(QUICK).check(None, "x")
    assert (caught.value.code, caught.value.retry_after) == (429, 1.0)
