"""What is remembered of a slot's earlier workers."""

from runtime.lives import Lives
from runtime.reconciler import Slot

A, B = Slot("ping", "1" * 64, 0, 0), Slot("ping", "2" * 64, 0, 0)


def test_each_short_life_counts_and_holds_its_slot_for_longer() -> None:
    lives = Lives()
    for count in range(1, 5):
        assert lives.ended(A, 1.0, 0.0, blameless=False) is None
        assert lives.short(A) == count
    assert lives.held(0.5) == {A: 0.8}
    assert not lives.held(0.8)
    assert lives.short(A, 1.0) == 5
    assert lives.ended(A, 1.0, 0.0, blameless=False) is not None
    assert set(lives.given_up) == {A}
    assert lives.short(B) == 0


def test_a_long_life_ends_the_row_and_a_blameless_end_is_not_in_it() -> None:
    lives = Lives()
    lives.ended(A, 1.0, 0.0, blameless=False)
    lives.ended(A, 0.1, 0.0, blameless=True)
    assert lives.short(A) == 1
    lives.ended(A, 100.0, 0.0, blameless=False)
    assert lives.short(A) == 0


def test_what_waits_for_nats_alone_is_let_go_when_it_is_back() -> None:
    lives = Lives()
    lives.ended(A, 1.0, 0.0, blameless=False)
    lives.ended(B, 1.0, 0.0, blameless=True)
    lives.forgive()
    assert set(lives.held(0.0)) == {A}


def test_one_version_is_forgotten_without_the_other() -> None:
    lives = Lives()
    for slot in (A, B):
        for _ in range(5):
            lives.ended(slot, 1.0, 0.0, blameless=False)
    lives.forget("ping", B.digest)
    assert set(lives.given_up) == {A}
    lives.forget("ping")
    assert not lives.given_up
    assert not lives.held(0.0)
