import pytest

from contracts.errors import Refused
from gateway.security import throttle
from gateway.security.throttle import BY_ADDRESS, BY_USER, FORGET_S, Rule, Throttle, network_of

S = 1_000_000_000


def wait(found: Throttle, user: str, address: str, now_s: float) -> float | None:
    """Let somebody fail at this time; how long they have to wait, None when they were judged."""
    try:
        found.admit(user, address, int(now_s * S))
    except Refused as refused:
        return refused.retry_after
    return None


def test_delays_double_up_to_a_bound() -> None:
    rule = Rule(free=2, first_s=1.0, longest_s=10.0)
    assert [rule.wait_s(failures) for failures in (0, 1, 2, 3, 4, 5, 6, 7, 100_000)] == [0, 0, 0, 1, 2, 4, 8, 10, 10]


def test_a_user_s_failures_count_from_every_address() -> None:
    found = Throttle()
    for number in range(BY_USER.free + 1):
        assert wait(found, "ann", f"192.0.2.{number}", 0) is None
    assert wait(found, "ann", "198.51.100.1", 0) == 1.0
    assert wait(found, "bob", "198.51.100.1", 0) is None
    assert wait(found, "ann", "198.51.100.1", 1.0) is None
    assert wait(found, "ann", "198.51.100.1", 1.0) == 2.0


def test_an_address_s_failures_count_for_every_user_and_known_or_not() -> None:
    found = Throttle()
    for number in range(BY_ADDRESS.free + 1):
        assert wait(found, f"user{number}", "192.0.2.1", 0) is None
    assert wait(found, "another", "192.0.2.1", 0) == 1.0
    assert wait(found, "another", "192.0.2.2", 0) is None


def test_a_stranger_cannot_lock_a_user_out_for_long() -> None:
    found, now = Throttle(), 0.0
    for number in range(40):
        while (more := wait(found, "ann", f"192.0.2.{number}", now)) is not None:
            now += more
    assert (wait(found, "ann", "198.51.100.1", now) or 0) <= BY_USER.longest_s


def test_success_forgives_the_user_but_not_the_address() -> None:
    found = Throttle()
    for number in range(BY_ADDRESS.free):
        assert wait(found, f"user{number}", "192.0.2.1", 0) is None
    found.admit("ann", "192.0.2.1", 0)
    found.succeeded("ann", "192.0.2.1")
    assert wait(found, "mallory", "192.0.2.1", 0) is None
    assert wait(found, "mallory", "192.0.2.1", 0) == 1.0


def test_a_hundred_at_once_are_no_way_around() -> None:
    found = Throttle()
    judged = sum(wait(found, "ann", "192.0.2.1", 0) is None for _ in range(100))
    assert judged == BY_USER.free + 1


def test_failures_are_forgotten_after_a_while() -> None:
    found = Throttle()
    for _ in range(BY_USER.free + 1):
        wait(found, "ann", "192.0.2.1", 0)
    later = FORGET_S + 1
    for _ in range(BY_USER.free + 1):
        assert wait(found, "ann", "192.0.2.1", later) is None


def test_what_was_not_judged_does_not_count() -> None:
    found = Throttle()
    for _ in range(50):
        found.admit("ann", "192.0.2.1", 0)
        found.withdrawn("ann", "192.0.2.1")


def test_memory_is_bounded_whatever_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_REMEMBERED", 100)
    found = Throttle()
    for number in range(1000):
        wait(found, f"user{number}" + "x" * 5000, f"192.0.{number % 250}.{number % 251}", 0)
    assert found.remembered <= 200
    assert all(len(key) <= 64 for key in found._users._records)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        (None, "unknown"),
        ("odd", "unknown"),
    ],
)
def test_one_person_s_addresses_are_one(address: str | None, network: str) -> None:
    assert network_of(address) == network
