import pytest

from gateway.cli.exits import Stop
from gateway.cli.logs import Wanted, logs, passes

LINE = {"level": "warning", "instance": "n1", "event": "worker failed", "fields": {"worker": "n1_x", "job": "j1"}}
RUNS = {"n1": "echo"}


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(level="info"),
        Wanted(level="warning", job="j1"),
        Wanted(instance="n1"),
        Wanted(instance="n1_x"),
        Wanted(function="echo"),
    ],
)
def test_a_line_is_shown_to_who_asks_for_it(wanted: Wanted) -> None:
    assert passes(LINE, wanted, RUNS)


@pytest.mark.parametrize(
    "wanted", [Wanted(level="error"), Wanted(job="j"), Wanted(instance="n2"), Wanted(function="latency-ping")]
)
def test_a_line_is_hidden_from_who_asks_for_another(wanted: Wanted) -> None:
    assert not passes(LINE, wanted, RUNS)


def test_a_function_named_in_the_line_counts_whoever_writes_it() -> None:
    assert passes({"level": "info", "fields": {"function": "dns-lookup"}}, Wanted(function="dns-lookup"), RUNS)


def test_a_level_that_is_unknown_is_shown() -> None:
    assert passes({"level": "notice"}, Wanted(level="error"), {})


def test_a_misspelt_level_is_refused() -> None:
    with pytest.raises(Stop, match="wrong input"):
        logs(level="warn")
