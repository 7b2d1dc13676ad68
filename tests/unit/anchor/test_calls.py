import pytest

from anchor.calls import _header_ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1000", 1000), ("", 0), ("-1", 0), ("1.5", 0), ("nan", 0), ("9" * 30, 0), ("9" * 17, 86_400_000_000_000)],
)
def test_what_a_worker_says_of_time_is_bounded(text: str, ns: int) -> None:
    assert _header_ns({"Mmn-Run-Ns": text}, "Mmn-Run-Ns") == ns


def test_a_header_that_is_missing_counts_as_nothing() -> None:
    assert _header_ns({}, "Mmn-Run-Ns") == 0
