from pathlib import Path

import pytest
from msgspec import Struct

from contracts.settings import BadSetting, load


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    nats_url: str
    folder: Path = Path("x")
    labels: dict[str, str] = {}
    wait: float = 1.0


def test_own_variables_win_over_shared_ones() -> None:
    env = {"MMN_NATS_URL": "nats://a", "MMN_ANCHOR_NATS_URL": "nats://b", "PATH": "/bin", "MMN_GATEWAY_X": "1"}
    assert load(Example, "anchor", env).nats_url == "nats://b"


def test_values_are_read_by_type() -> None:
    env = {
        "MMN_NATS_URL": "u",
        "MMN_ANCHOR_FOLDER": "/tmp/y",
        "MMN_ANCHOR_LABELS": '{"site":"fra"}',
        "MMN_ANCHOR_WAIT": "2.5",
    }
    assert load(Example, "anchor", env) == Example(
        nats_url="u", folder=Path("/tmp/y"), labels={"site": "fra"}, wait=2.5
    )


def test_a_misspelt_variable_stops_the_start_with_its_name() -> None:
    with pytest.raises(BadSetting, match=r"MMN_ANCHOR_WIAT is not a setting.*MMN_ANCHOR_WAIT"):
        load(Example, "anchor", {"MMN_NATS_URL": "u", "MMN_ANCHOR_WIAT": "1"})


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(BadSetting, match="MMN_ANCHOR_NATS_URL"):
        load(Example, "anchor", {})


@pytest.mark.parametrize("value", ["fast", ""])
def test_a_value_of_the_wrong_form_is_refused(value: str) -> None:
    with pytest.raises(BadSetting, match="wait"):
        load(Example, "anchor", {"MMN_NATS_URL": "u", "MMN_ANCHOR_WAIT": value})


def test_broken_json_in_a_setting_is_refused() -> None:
    with pytest.raises(BadSetting, match="MMN_ANCHOR_LABELS"):
        load(Example, "anchor", {"MMN_NATS_URL": "u", "MMN_ANCHOR_LABELS": '{"site":'})
