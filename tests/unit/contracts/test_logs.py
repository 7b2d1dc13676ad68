import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import logs
from contracts.access import tokens

SEED = tokens.seed(tokens.new_user_key())
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJlc2lnbmF0dXJl"
PLANTED = [
    ("https://bob:hunter2@example.org/x", "hunter2"),
    ("Authorization: Bearer abcdefghijklmnop", "abcdefghijklmnop"),
    ("Basic YWRtaW46aHVudGVyMg==", "YWRtaW46aHVudGVyMg=="),
    (f"token {JWT} refused", JWT),
    (f"seed={SEED}", SEED),
    ("mail from bob.smith@example.org", "bob.smith@example.org"),
]


@pytest.mark.parametrize(("text", "secret"), PLANTED)
def test_a_secret_in_free_text_does_not_come_out(text: str, secret: str) -> None:
    assert secret not in str(logs.redact({"event": text, "deep": [{"x": text}], "error": ValueError(text)}))


@pytest.mark.parametrize("name", ["password", "admin_password", "token", "api_key", "Authorization", "cookie", "seed"])
def test_a_value_under_a_telling_name_does_not_come_out(name: str) -> None:
    assert logs.redact({name: "hunter2"}) == {name: logs.HIDDEN}


@pytest.mark.parametrize("name", ["client", "client_ip", "remote_addr", "peer"])
def test_client_addresses_do_not_come_out(name: str) -> None:
    assert logs.redact({name: "192.0.2.7"}) == {name: logs.HIDDEN}


def test_targets_and_plain_facts_stay_readable() -> None:
    plain = {"target": "192.0.2.1", "count": 3, "ok": True, "none": None, "event": "job finished"}
    assert logs.redact(plain) == plain


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())))
def test_redaction_never_fails_and_keeps_the_keys(event: dict[str, object]) -> None:
    assert set(logs.redact(event)) == set(event)


def test_the_shipper_keeps_the_newest_lines_and_counts_the_rest() -> None:
    shipper = logs.LogShipper("n1")
    for number in range(1500):
        shipper(None, "info", {"event": str(number)})
    assert shipper.dropped == 500
    assert shipper._lines[-1].event == "1499"
