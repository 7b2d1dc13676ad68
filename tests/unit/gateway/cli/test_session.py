from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from contracts import clock
from gateway.cli.exits import Exit, Stop
from gateway.cli.session import Login, Session, normal
from gateway.cli.settings import Settings

URL = "http://127.0.0.1:8080"


def settings(state: Path, url: str | None = None) -> Settings:
    return Settings(url=url, state=state)


def login(seconds: float = 600, **more: str) -> Login:
    return Login(user="ada", token="t", expires_ns=clock.wall_ns() + int(seconds * 1e9), **more)


def running(state: Path, url: str = URL) -> None:
    (state / "password").write_text("secret\n")
    told = {"gateway": {"url": url}, "admin": {"user": "admin", "password_file": str(state / "password")}}
    (state / "stack.json").write_bytes(msgspec.json.encode(told))


def test_nothing_known_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="mmn up") as stopped:
        Session(settings(tmp_path))
    assert stopped.value.code is Exit.UNAVAILABLE


def test_the_option_beats_the_environment_beats_the_login_beats_the_local_network(tmp_path: Path) -> None:
    running(tmp_path)
    assert Session(settings(tmp_path)).url == URL
    Session(settings(tmp_path), "http://login").keep(login(), current=True)
    assert Session(settings(tmp_path)).url == "http://login"
    assert Session(settings(tmp_path, "http://environment")).url == "http://environment"
    assert Session(settings(tmp_path, "http://environment"), "http://option").url == "http://option"


def test_a_token_that_was_not_asked_for_changes_no_default(tmp_path: Path) -> None:
    running(tmp_path)
    Session(settings(tmp_path), "http://other").keep(login())
    assert Session(settings(tmp_path)).url == URL


def test_logins_are_for_their_owner_only(tmp_path: Path) -> None:
    session = Session(settings(tmp_path / "new"), URL)
    session.keep(login())
    assert stat.S_IMODE((tmp_path / "new" / "logins.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    kept = Session(settings(tmp_path / "new"), URL + "/").login()
    assert kept is not None
    assert kept.user == "ada"


def test_the_network_on_this_machine_needs_no_password_by_hand(tmp_path: Path) -> None:
    running(tmp_path)
    assert Session(settings(tmp_path)).password() == ("admin", "secret", str(tmp_path / "password"))


def test_the_password_of_this_machine_goes_to_no_other_gateway(tmp_path: Path) -> None:
    running(tmp_path)
    assert Session(settings(tmp_path), "http://elsewhere").password() is None


def test_a_login_is_forgotten(tmp_path: Path) -> None:
    session = Session(settings(tmp_path), URL)
    session.keep(login(), current=True)
    assert session.forget()
    assert not session.forget()
    assert session.login() is None


def test_a_token_that_is_about_to_end_is_not_fresh() -> None:
    assert login(600).fresh()
    assert not login(5).fresh()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:1", "http://localhost:1"),
        ("mmn.example.net", "https://mmn.example.net"),
    ],
)
def test_a_url_is_kept_in_one_form(given: str, expected: str) -> None:
    assert normal(given) == expected


@pytest.mark.parametrize("given", ["ftp://a", "https://", "https://ada:secret@mmn.example.net"])
def test_what_is_no_gateway_is_refused(given: str) -> None:
    with pytest.raises(Stop):
        normal(given)


def test_broken_logins_are_told(tmp_path: Path) -> None:
    (tmp_path / "logins.json").write_text("{")
    with pytest.raises(Stop, match="delete it"):
        Session(settings(tmp_path))
