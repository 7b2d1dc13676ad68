"""Settings of a node."""

from pathlib import Path

import pytest

from contracts.settings import BadSetting
from runtime.settings import load

ENV = {
    "MMN_NATS_URL": "nats://localhost:4222",
    "MMN_RUNTIME_NATS_CREDS": "/run/n1.creds",
    "MMN_RUNTIME_NODE": "n1",
    "MMN_RUNTIME_SIGNING_KEY": "/run/n1.nk",
    "MMN_RUNTIME_MEASURE_ACCOUNT": "AB",
    "MMN_RUNTIME_STATE_DIR": "/var/lib/mmn",
}


def test_own_and_shared_variables_are_read() -> None:
    settings = load({**ENV, "MMN_RUNTIME_LABELS": '{"site":"fra"}', "MMN_RUNTIME_DRAIN_S": "3"})
    assert settings.nats_url == "nats://localhost:4222"
    assert settings.state_dir == Path("/var/lib/mmn")
    assert settings.labels == {"site": "fra"}
    assert settings.drain_s == 3
    assert settings.worker_lifetime_s == 3600


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MMN_RUNTIME_NODE", "Not A Node", "MMN_RUNTIME_NODE"),
        ("MMN_RUNTIME_LABELS", '{"a b":"c"}', "MMN_RUNTIME_LABELS"),
        ("MMN_RUNTIME_WORKER_LIFETIME_S", "1", "worker_lifetime_s"),
        ("MMN_RUNTIME_NOED", "n1", "is not a setting"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        load({**ENV, name: value})
