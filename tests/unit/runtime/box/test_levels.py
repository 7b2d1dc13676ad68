"""From what holds to a level, and to words."""

import itertools

import pytest

from runtime.box.levels import (
    EXPOSED,
    MEASURES,
    METADATA,
    NO_LIMIT_OF_EGRESS,
    NO_PORTS,
    NO_SCOPES,
    NO_UDP_PORTS,
    NOTHING,
    Found,
    Measure,
    gaps,
    level,
    reaches,
)


def found(*missing: Measure, abi: int = 7) -> Found:
    return Found(abi=abi, missing=dict.fromkeys(missing, "because"))


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), "B0"),
        (("user",), "B1"),
        (("landlock",), "B2"),
        (("seccomp",), "B3"),
        (("user", "landlock"), "B4"),
        (("user", "seccomp"), "B4"),
        (("landlock", "seccomp"), "B4"),
        (MEASURES, "B4"),
    ],
)
def test_each_set_of_measures_has_its_level(missing: tuple[Measure, ...], expected: str) -> None:
    assert level(found(*missing)) == expected


def test_every_set_has_a_level_and_nothing_known_is_the_lowest() -> None:
    sets = [found(*chosen) for count in range(4) for chosen in itertools.combinations(MEASURES, count)]
    assert {level(each) for each in sets} == {"B0", "B1", "B2", "B3", "B4"}
    assert level(NOTHING) == "B4"


def test_a_level_reaches_those_that_are_less_strict() -> None:
    assert reaches("B0", "B2")
    assert reaches("B2", "B2")
    assert not reaches("B3", "B2")


def test_what_is_open_is_said_with_its_reason() -> None:
    assert gaps(found(), egress="enforced") == [NO_UDP_PORTS]
    assert (
        gaps(found(), egress="advisory", why="nft is not installed")[-1]
        == f"{NO_LIMIT_OF_EGRESS} (nft is not installed)"
    )
    for measure in MEASURES:
        (first, *_) = gaps(found(measure), egress="enforced")
        assert first.endswith("(because)")
    assert len({gaps(found(measure), egress="enforced")[0] for measure in MEASURES}) == 3


def test_an_older_landlock_is_told_for_what_it_lacks() -> None:
    assert NO_PORTS in gaps(found(abi=3), egress="enforced")
    assert NO_PORTS not in gaps(found(abi=4), egress="enforced")
    # The filter refuses what the scopes would.
    assert NO_SCOPES not in gaps(found(abi=5), egress="enforced")
    assert NO_SCOPES in gaps(found("seccomp", abi=5), egress="enforced")
    assert NO_SCOPES not in gaps(found("seccomp", abi=6), egress="enforced")
    assert NO_PORTS not in gaps(found("landlock", abi=0), egress="enforced")


def test_a_runtime_whose_files_are_open_says_so() -> None:
    assert EXPOSED in gaps(found(*MEASURES), egress="advisory")
    assert EXPOSED in gaps(found("user", "landlock"), egress="advisory")
    assert METADATA in gaps(found("user", "seccomp"), egress="advisory")
    for missing in ((), ("user",), ("landlock",), ("landlock", "seccomp")):
        assert not {EXPOSED, METADATA} & set(gaps(found(*missing), egress="advisory"))
