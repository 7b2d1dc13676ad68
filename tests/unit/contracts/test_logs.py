import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import clock, logs, redaction
from contracts.access import tokens
from contracts.modules import Log

SEED = tokens.seed(tokens.new_user_key())
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJlc2lnbmF0dXJl"
PLANTED = [
    ("https://bob:hunter2@example.org/x", "hunter2"),
    ("Authorization: Bearer abcdefghijklmnop", "abcdefghijklmnop"),
    ("Basic YWRtaW46aHVudGVyMg==", "YWRtaW46aHVudGVyMg=="),
    (f"token {JWT} refused", JWT),
    (f"seed={SEED}", SEED),
    ("mail from bob.smith@example.org", "bob.smith@example.org"),
    ("https://bob:hun@ter2@example.org", "ter2"),
    ("GET /x?token=hunter2&y=1", "hunter2"),
    ("password=hunter2 refused", "hunter2"),
    ("Authorization: Token hunter2", "hunter2"),
]


@pytest.mark.parametrize(("text", "secret"), PLANTED)
def test_a_secret_in_free_text_does_not_come_out(text: str, secret: str) -> None:
    assert secret not in str(redaction.redact({"event": text, "deep": [{"x": text}], "error": ValueError(text)}))


@pytest.mark.parametrize("name", ["password", "admin_password", "token", "api_key", "Authorization", "cookie", "seed"])
def test_a_value_under_a_telling_name_does_not_come_out(name: str) -> None:
    assert redaction.redact({name: "hunter2"}) == {name: redaction.HIDDEN}


@pytest.mark.parametrize("name", ["client", "client_ip", "remote_addr", "peer"])
def test_client_addresses_do_not_come_out(name: str) -> None:
    assert redaction.redact({name: "192.0.2.7"}) == {name: redaction.HIDDEN}


def test_targets_and_plain_facts_stay_readable() -> None:
    plain = {"target": "192.0.2.1", "count": 3, "ok": True, "none": None, "event": "job finished"}
    assert redaction.redact(plain) == plain


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())))
def test_redaction_never_fails_and_keeps_plain_keys(event: dict[str, object]) -> None:
    assert set(redaction.redact(event)) >= {key for key in event if key.isalnum()}


@pytest.mark.parametrize("text", ["a." * 100_000, "a@" * 100_000, "://" + "x" * 200_000, "eyJ" + "a" * 200_000])
def test_text_made_for_it_takes_no_long_time(text: str) -> None:
    began = clock.monotonic_ns()
    assert len(redaction.redact_text(text)) < 20_000
    assert clock.monotonic_ns() - began < 1_000_000_000


@pytest.mark.parametrize("field", [{(1, 2): 3}, "\ud800", "x" * 1_000_000], ids=["key", "surrogate", "huge"])
def test_a_line_that_cannot_be_sent_is_dropped_alone(field: object) -> None:
    line = Log(at="", level="info", instance="n1", event="x", fields={"field": field})
    assert logs._encoded(line) is None or isinstance(logs._encoded(line), bytes)
    assert logs._encoded(Log(at="", level="info", instance="n1", event="x")) is not None


def test_the_shipper_keeps_the_newest_lines_and_counts_the_rest() -> None:
    shipper = logs.LogShipper("n1")
    for number in range(1500):
        shipper(None, "info", {"event": str(number)})
    assert shipper.dropped == 500
    assert shipper._lines[-1].event == "1499"
