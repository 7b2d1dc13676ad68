from __future__ import annotations

from pathlib import Path

from gateway.cli import settings


def test_the_defaults_follow_the_xdg_base_directories() -> None:
    assert settings.load({"HOME": "/home/ada"}).state == Path("/home/ada/.local/state/mmn")
    assert settings.load({"HOME": "/home/ada", "XDG_STATE_HOME": "/s"}).state == Path("/s/mmn")


def test_gateway_and_state_can_be_named() -> None:
    found = settings.load({"MMN_URL": "http://127.0.0.1:1", "MMN_STATE": "/net"})
    assert (found.url, found.state) == ("http://127.0.0.1:1", Path("/net"))


def test_an_empty_url_is_none() -> None:
    assert settings.load({"MMN_URL": ""}).url is None


def test_a_child_inherits_no_secret_of_the_shell() -> None:
    shell = {
        "PATH": "/bin",
        "PYTHONPATH": "/here",
        "SSL_CERT_FILE": "/ca.pem",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "MMN_URL": "http://gateway",
        "MMN_ANCHOR_LOG_LEVEL": "debug",
        "MMN_ANCHOR_ID": "other",
    }
    env = settings.child_environment({"MMN_ANCHOR_ID": "anchor1"}, shell)
    assert env["MMN_ANCHOR_ID"] == "anchor1"
    assert env["MMN_ANCHOR_LOG_LEVEL"] == "debug"
    assert {"PATH", "PYTHONPATH", "SSL_CERT_FILE"} <= set(env)
    assert not {"AWS_SECRET_ACCESS_KEY", "MMN_URL"} & set(env)
