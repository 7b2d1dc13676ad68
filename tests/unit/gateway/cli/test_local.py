from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import up
from gateway.cli.exits import Exit, Stop
from gateway.cli.local import Wish


def test_every_node_is_a_site_and_carries_the_given_labels() -> None:
    wish = Wish(folder=Path("x"), nodes=2, labels={"asn": "64500"})
    assert wish.node_names() == ["n1", "n2"]
    assert wish.node_labels("n2") == {"site": "local2", "asn": "64500"}


def test_a_label_by_hand_beats_the_made_one() -> None:
    assert Wish(folder=Path("x"), labels={"site": "fra"}).node_labels("n1") == {"site": "fra"}


@pytest.mark.parametrize("word", ["site", "site=", "si te=x", "site=a b"])
def test_a_bad_label_is_refused(word: str) -> None:
    with pytest.raises(Stop) as stopped:
        up.labels([word])
    assert stopped.value.code is Exit.BAD_INPUT
