import pytest

from anchor.checks import deaf
from anchor.instance import Instance
from anchor.limiter import Limiter
from tests.unit.anchor.builders import card


@pytest.mark.parametrize(
    ("spare_ns", "worked_ns", "verdict"),
    [(150, 50, True), (50, 50, False), (150, 150, False)],
    ids=["said that it is free", "said nothing since", "answered a call since"],
)
def test_silence_counts_only_when_work_cannot_explain_it(spare_ns: int, worked_ns: int, verdict: bool) -> None:
    one = Instance("n1_a", "n1", card(), {}, 0, Limiter(2))
    one.spare_ns, one.worked_ns = spare_ns, worked_ns
    assert deaf(one, 100) is verdict


def test_a_worker_says_that_it_has_a_slot_to_spare() -> None:
    one = Instance("n1_a", "n1", card(), {}, 0, Limiter(2))
    one.reported(limit=2, load=2, now_ns=5)
    assert one.spare_ns == 0
    one.reported(limit=2, load=1, now_ns=6)
    assert one.spare_ns == 6
