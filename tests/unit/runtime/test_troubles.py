from runtime.reconciler import Slot
from runtime.troubles import MOST_TOLD, Troubles


def slot(function: str = "ping", number: int = 0) -> Slot:
    return Slot(function, "d" * 64, 0, number)


def test_a_failure_is_told_until_the_slot_has_a_ready_worker() -> None:
    troubles = Troubles()
    troubles.failed(slot(), "1.0.0", "killed by signal 9", given_up=False)
    ((told),) = troubles.told()
    assert (told.function, told.version, told.reason, told.given_up) == ("ping", "1.0.0", "killed by signal 9", False)
    troubles.over(slot())
    assert troubles.told() == []


def test_many_slots_of_a_version_are_told_as_one_and_the_hopeless_come_first() -> None:
    troubles = Troubles()
    for number in range(8):
        troubles.failed(slot(number=number), "1.0.0", "cannot be loaded", given_up=False)
    troubles.failed(slot("zap"), "2.0.0", "crash loop: 5 lives", given_up=True)
    assert [(one.function, one.given_up) for one in troubles.told()] == [("zap", True), ("ping", False)]


def test_a_new_wish_begins_anew() -> None:
    troubles = Troubles()
    troubles.failed(slot(), "1.0.0", "crash loop", given_up=True)
    troubles.failed(slot("zap"), "1.0.0", "crash loop", given_up=True)
    troubles.forget("ping")
    assert [one.function for one in troubles.told()] == ["zap"]


def test_what_is_told_every_second_is_bounded() -> None:
    troubles = Troubles()
    for number in range(MOST_TOLD + 5):
        troubles.failed(slot(f"f{number}"), "1.0.0", "x" * 10_000, given_up=True)
    told = troubles.told()
    assert len(told) == MOST_TOLD
    assert max(len(one.reason) for one in told) == 300
