"""An author's key on this machine."""

import stat
from pathlib import Path

import pytest

from contracts import signatures
from contracts.access import tokens
from gateway.cli import authorship, identities
from gateway.cli.__main__ import execute
from gateway.cli.exits import Exit, Stop
from gateway.cli.settings import Settings
from tests.kit.authors import TRUSTED, UNTRUSTED
from tests.kit.wheels import build_wheel


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MMN_AUTHOR_KEY", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "MMN_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_new_key_is_its_owners_alone_and_never_replaced(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["key", "new"]) == Exit.OK
    author = capsys.readouterr().out.strip()
    file = home / ".config" / "mmn" / "author.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert author == tokens.public(authorship.read(file))
    before = file.read_bytes()
    assert execute(["key", "new"]) == Exit.BAD_INPUT
    assert file.read_bytes() == before
    said = capsys.readouterr()
    assert "already there" in said.err
    assert execute(["key", "show"]) == Exit.OK
    shown = capsys.readouterr()
    assert shown.out.strip() == author
    assert before.decode().strip() not in said.err + said.out + shown.out + shown.err


def test_a_wheel_is_signed_in_a_file_beside_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, wheel = home / "ci.key", home / "echo-1.0.0-py3-none-any.whl"
    wheel.write_bytes(build_wheel("echo"))
    assert execute(["key", "new", str(key)]) == Exit.OK
    author = capsys.readouterr().out.strip()
    assert execute(["key", "sign", str(wheel), "--key", str(key)]) == Exit.OK
    made = Path(capsys.readouterr().out.strip())
    assert made.name == "echo-1.0.0-py3-none-any.whl.sig"
    assert made.read_text().strip() == authorship.signed(wheel.read_bytes(), authorship.read(key))
    assert signatures.read(made.read_text()).author == author


def test_without_a_key_people_are_told_how_to_get_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "x.whl").write_bytes(b"x")
    assert execute(["key", "sign", str(home / "x.whl")]) == Exit.BAD_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert "no author's key" in said
    assert "mmn key new" in said
    assert "mmn authors trust" in said


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "author.key"
    authorship.make(file)
    file.chmod(0o644)
    with pytest.raises(Stop, match="open to others"):
        authorship.read(file)
    file.chmod(0o640)
    authorship.read(file)


def test_what_is_no_key_is_refused_without_telling_what_it_was(tmp_path: Path) -> None:
    file = tmp_path / "author.key"
    file.touch(mode=0o600)
    file.write_text("SUSECRETBUTWRONG")
    with pytest.raises(Stop) as refused:
        authorship.read(file)
    assert "SECRET" not in f"{refused.value} {refused.value.detail}"
    with pytest.raises(Stop, match="cannot be read"):
        authorship.read(tmp_path / "nowhere")


def test_the_key_is_the_chosen_one_else_the_networks_else_ones_own(tmp_path: Path) -> None:
    own, state = tmp_path / "own.key", tmp_path / "net"
    state.mkdir()
    known = Settings(url=None, state=state, own_key=own)
    with pytest.raises(Stop):
        authorship.find(known, "http://127.0.0.1:8080")
    authorship.make(own)
    assert authorship.find(known, "http://127.0.0.1:8080") == own
    authorship.make(state / "author.key")
    stack = '{"gateway": {"url": "http://127.0.0.1:8080"}, "admin": {"user": "admin", "password_file": "x"}}'
    (state / "stack.json").write_text(stack)
    assert authorship.find(known, "http://127.0.0.1:8080") == state / "author.key"
    assert authorship.find(known, "https://elsewhere.example") == own, "another network's author is not ours"
    assert authorship.find(known, None, tmp_path / "chosen") == tmp_path / "chosen"
    named = Settings(url=None, state=state, own_key=own, author_key=tmp_path / "named")
    assert authorship.find(named, "http://127.0.0.1:8080") == tmp_path / "named"


def test_a_new_network_has_an_author_of_its_own_unless_others_are_named(tmp_path: Path) -> None:
    for folder in (tmp_path / "own", tmp_path / "named"):
        folder.mkdir()
    file = identities.authors(tmp_path / "own")
    assert list(authorship.listed(tmp_path / "own")) == [
        tokens.public(authorship.read(tmp_path / "own" / "author.key"))
    ]
    before = file.read_bytes()
    assert identities.authors(tmp_path / "own").read_bytes() == before
    identities.authors(tmp_path / "named", {TRUSTED: ""})
    identities.authors(tmp_path / "named", {UNTRUSTED: ""})
    assert list(authorship.listed(tmp_path / "named")) == [TRUSTED, UNTRUSTED]
    assert not (tmp_path / "named" / "author.key").exists()


def test_a_network_whose_own_author_was_distrusted_stays_so(tmp_path: Path) -> None:
    identities.authors(tmp_path)
    authorship.list_authors(tmp_path, {})
    identities.authors(tmp_path)
    assert authorship.listed(tmp_path) == {}


def test_a_name_is_never_a_line_of_its_own(tmp_path: Path) -> None:
    authorship.list_authors(tmp_path, {TRUSTED: f"ada\n{UNTRUSTED} # eve"})
    assert authorship.listed(tmp_path) == {TRUSTED: f"ada {UNTRUSTED} eve"}
