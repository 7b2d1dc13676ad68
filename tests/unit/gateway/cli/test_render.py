from __future__ import annotations

import msgspec
import pytest

from gateway.cli import render
from gateway.cli.exits import Exit, Stop, of_problem
from gateway.cli.jobs import line


@pytest.fixture
def json_mode() -> None:
    render.format_in_use.set(render.Format.JSON)


@pytest.fixture(autouse=True)
def table_mode() -> None:
    render.format_in_use.set(render.Format.TABLE)


RESULT = {
    "job": "j1",
    "function": "latency-ping",
    "node": "n1",
    "target": "localhost",
    "address": "127.0.0.1",
    "duration_ns": 1_500_000,
    "failure": None,
    "data": {
        "sent": 2,
        "loss_ratio": 0.5,
        "round_trip": {"min_ns": 20_000, "max_ns": 30_000},
        "packets": [
            {"seq": 0, "rtt_ns": 20_000, "late": False, "error": None},
            {"seq": 1, "rtt_ns": None, "late": False, "error": None},
        ],
    },
}


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(None, "-"), (0, "0 ns"), (999, "999 ns"), (1500, "1.500 µs"), (2_000_000, "2.000 ms"), (3e9, "3.000 s")],
)
def test_durations_are_told_in_the_unit_that_fits(nanoseconds: float | None, text: str) -> None:
    assert render.duration(nanoseconds) == text


def test_unknown_is_a_dash_and_never_nought() -> None:
    assert render.named("rtt_ns", None) == ("rtt", "-")
    assert render.named("offset", None) == ("offset", "-")
    assert render.named("loss_ratio", 0.25) == ("loss", "25 %")


def test_a_result_shows_every_packet_and_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    render.result(RESULT)
    out = capsys.readouterr().out
    assert "latency-ping localhost (127.0.0.1) on n1, 1.500 ms" in out
    assert out.split("\n")[2].split() == ["seq", "rtt"]
    assert out.split("\n")[3].split() == ["0", "20.000", "µs"]
    assert "sent 2, loss 50 %" in out
    assert "round trip: min 20.000 µs, max 30.000 µs" in out
    # A column that says nothing about any packet is left out.
    assert "error" not in out


def test_a_failure_names_who_has_to_act(capsys: pytest.CaptureFixture[str]) -> None:
    failure = {"code": "timeout", "blame": "target", "detail": "no reply [within] 1 s", "stage": "reply"}
    render.result(RESULT | {"failure": failure, "data": None})
    assert "timeout (blame: target) at reply: no reply [within] 1 s" in capsys.readouterr().out


@pytest.mark.usefixtures("json_mode")
def test_json_is_the_result_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    render.result(RESULT)
    render.note("for people")
    captured = capsys.readouterr()
    assert msgspec.json.decode(captured.out) == RESULT
    assert captured.err == ""


def test_an_error_is_one_line_in_the_gateways_words(capsys: pytest.CaptureFixture[str]) -> None:
    render.failure(of_problem(400, {"title": "Bad Request", "detail": "params.count: too [many]"}))
    assert capsys.readouterr().err == "error: params.count: too [many]\n"


def test_a_refusal_under_load_says_once_when_to_try_again(capsys: pytest.CaptureFixture[str]) -> None:
    render.failure(of_problem(429, {"title": "Too Many Requests", "detail": "live jobs wait", "retry_after": 2.5}))
    assert capsys.readouterr().err == "error: live jobs wait\ntry again in 2.5 s\n"
    render.failure(of_problem(429, {"title": "x", "detail": "full; try again in 2.5 s", "retry_after": 2.5}))
    assert capsys.readouterr().err == "error: full; try again in 2.5 s\n"


@pytest.mark.usefixtures("json_mode")
def test_an_error_in_json_mode_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    render.failure(Stop(Exit.UNAVAILABLE, "no gateway", "x" * 300))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert msgspec.json.decode(captured.err) == {"title": "no gateway", "detail": "x" * 300}


def test_an_empty_list_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    render.rows([], [("a", lambda item: item["a"])], empty="no jobs")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no jobs\n")


def test_markup_in_what_others_wrote_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    render.rows([{"a": "[bold]x[/bold]"}], [("a", lambda item: item["a"])], empty="")
    assert "[bold]x[/bold]" in capsys.readouterr().out


def test_a_progress_event_begins_with_its_kind() -> None:
    assert render.event({"seq": 1, "kind": "reply", "rtt_ns": 1_000_000}) == "reply seq=1 rtt=1.000 ms"


@pytest.mark.parametrize(
    ("topic", "data", "told"),
    [
        ("events", {"event": "accepted", "reason": "", "instance": None}, "job accepted"),
        ("events", {"event": "rerouted", "reason": "worker lost", "instance": "n1_a"}, "job rerouted n1_a worker lost"),
        ("progress", {"instance": "n1_a", "event": {"kind": "sent", "seq": 0}}, "n1_a sent seq=0"),
        (
            "modules",
            {"instance": "i", "function": "f", "version": "1.0.0", "event": "failed", "reason": "r"},
            "i f 1.0.0 failed (r)",
        ),
        ("logs", {"instance": "i", "level": "info", "event": "hello", "fields": {"a": 1}}, "i info hello a=1"),
    ],
)
def test_an_item_of_the_feed_is_one_line(topic: str, data: dict[str, object], told: str) -> None:
    assert line(topic, data).strip() == told
