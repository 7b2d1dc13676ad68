"""A rollout as a terminal shows it."""

from typing import Any

import pytest

from contracts.errors import InvalidField
from gateway.cli.rollout import Ending, ending_of, progress, query


def told(weight: float = 0.1, *, paired: bool = False) -> dict[str, Any]:
    rollout = {"id": "r1", "version": "1.1.0", "weight": weight, "strategy": {"paired": paired}}
    pairs = {"seen": 9, "alike": 8, "only_new_failed": 1} if paired else None
    sides = {
        "new": {"version": "1.1.0", "calls": 12, "faults": 1},
        "old": {"version": "1.0.0", "calls": 90, "faults": 0},
    }
    deployment = {"function": "echo", "version": "1.0.0", "rollout": rollout, "history": []}
    return {"deployment": deployment, "comparison": {**sides, "pairs": pairs}}


def test_what_is_asked_for_becomes_the_query_of_the_upload() -> None:
    assert query(canary=None, hold=None, paired=False, at_once=False) == []
    assert query(canary="5, 50", hold=30.0, paired=True, at_once=False) == [
        ("steps", "0.05"),
        ("steps", "0.5"),
        ("hold", "30.0"),
        ("paired", "true"),
    ]
    assert query(canary=None, hold=None, paired=False, at_once=True) == [("at_once", "true")]
    with pytest.raises(InvalidField, match="canary"):
        query(canary="10,half", hold=None, paired=False, at_once=False)


def test_how_far_it_is_fits_a_line() -> None:
    assert progress(told(0.0)) == "echo 1.1.0: starting"
    assert progress(told()) == "echo 1.1.0: 10 % of jobs; 1.1.0 12 calls, 1 faults; 1.0.0 90 calls, 0 faults"
    assert progress(told(1.0, paired=True)) == (
        "echo 1.1.0: 100 % of jobs run on both; 9 jobs on both, 8 alike, failed on 1.1.0 alone 1"
    )


def test_it_is_over_when_the_history_says_how_it_ended() -> None:
    deployment = told()["deployment"]
    assert ending_of(deployment, "r1") is None
    back = {"rollout": "r1", "what": "rolled-back", "version": "1.1.0", "reason": "n1: boom"}
    over = deployment | {"rollout": None, "history": [{"rollout": "r0", "what": "promoted"}, back]}
    assert ending_of(over, "r1") == back
    ending = Ending(over, back)
    assert not ending.promoted
    assert ending.told == "echo 1.1.0 was rolled back: n1: boom; 1.0.0 goes on"


def test_a_rollout_that_another_one_followed_is_over_too() -> None:
    later = told()["deployment"] | {"history": [{"rollout": "r0", "what": "superseded", "version": "1.0.9"}]}
    found = ending_of(later, "r0")
    assert found is not None
    assert found["what"] == "superseded"
    forgotten = ending_of(later, "long-ago")
    assert forgotten is not None
    assert "forgotten" in forgotten["reason"]
