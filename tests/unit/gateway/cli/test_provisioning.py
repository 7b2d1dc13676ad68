from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.cli import provisioning
from gateway.cli.__main__ import execute
from gateway.cli.exits import Exit, Stop


def provision(folder: Path, nodes: str = "n1,n2", *options: str) -> Path:
    out = folder / "out"
    arguments = ["provision", "--dir", str(folder / "net"), "--nodes", nodes, "--hand-out", str(out), *options]
    assert execute(arguments) == Exit.OK
    return out


def test_each_process_is_handed_out_what_it_needs_and_no_more(tmp_path: Path) -> None:
    out = provision(tmp_path)
    given = {folder.name: {file.name for file in folder.iterdir()} for folder in out.iterdir()}
    node = {"ca.crt", "nats.creds", "signing.key", "measure-account", "authors"}
    assert given == {
        "nats": {"server.conf", "server.crt", "server.key"},
        "streams": {"ca.crt", "nats.creds"},
        "anchor": {"ca.crt", "nats.creds"},
        "gateway": {"ca.crt", "nats.creds", "password", "authors"},
        "operator": {"ca.crt", "nats.creds", "password"},
        "admin": {"ca.crt", "nats.creds"},
        "author": {"author.key"},
        "node-n1": node,
        "node-n2": node,
    }


def test_only_the_owner_reads_what_is_handed_out(tmp_path: Path) -> None:
    out = provision(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.glob("*/*")} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o700}


def test_no_key_of_operator_account_or_role_is_handed_out(tmp_path: Path) -> None:
    out = provision(tmp_path)
    seeds = {path.read_text() for path in (tmp_path / "net" / "keys").iterdir()}
    assert len(seeds) >= 9
    handed = "".join(path.read_text() for path in out.glob("*/*"))
    assert not [seed for seed in seeds if seed in handed]


def test_a_second_call_keeps_everybody_and_adds_a_node(tmp_path: Path) -> None:
    out = provision(tmp_path, "n1")
    before = {path: path.read_text() for path in out.glob("*/*") if path.name != "server.conf"}
    provision(tmp_path, "n1,n2")
    assert {path: path.read_text() for path in before} == before
    assert (out / "node-n2" / "signing.key").exists()


def test_a_folder_that_was_made_by_somebody_else_keeps_its_mode(tmp_path: Path) -> None:
    """As a volume is, whose root need not belong to us."""
    (tmp_path / "out" / "anchor").mkdir(parents=True, mode=0o755)
    out = provision(tmp_path)
    assert stat.S_IMODE((out / "anchor").stat().st_mode) == 0o755


def test_the_server_keeps_its_streams_where_it_is_told(tmp_path: Path) -> None:
    there = ("--data", "/srv/nats", "--host", "0.0.0.0", "--nats-files", "/etc/mmn")
    text = (provision(tmp_path, "n1", *there) / "nats" / "server.conf").read_text()
    assert 'store_dir: "/srv/nats"' in text
    assert 'dir: "/srv/nats/jwt"' in text
    assert 'listen: "0.0.0.0:4222"' in text
    assert 'sync_interval: "2m"' in text
    assert 'cert_file: "/etc/mmn/server.crt"' in text
    assert 'min_version: "1.3"' in text
    assert str(tmp_path) not in text


def test_every_message_can_be_written_to_disk_at_once(tmp_path: Path) -> None:
    text = (provision(tmp_path, "n1", "--sync-always") / "nats" / "server.conf").read_text()
    assert "sync_interval: always" in text


@pytest.mark.parametrize("nodes", ["N1", "a b", "n1,n-2", "n.1"])
def test_a_bad_node_is_refused(nodes: str) -> None:
    with pytest.raises(Stop) as stopped:
        provisioning.node_ids(nodes)
    assert stopped.value.code is Exit.BAD_INPUT


def test_nodes_are_a_list_without_repetition() -> None:
    assert provisioning.node_ids("n1, n2,n1,") == ["n1", "n2"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "out"
    blocked.write_text("not a folder")
    assert execute(["provision", "--dir", str(tmp_path / "net"), "--hand-out", str(blocked)]) == Exit.BAD_INPUT
    assert "nothing can be handed out" in capsys.readouterr().err


@pytest.mark.parametrize("path", ['a"b', "a\\b"])
def test_a_path_that_cannot_be_written_into_the_configuration_is_refused(
    tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["provision", "--dir", str(tmp_path), "--data", path]) == Exit.BAD_INPUT
    assert "quote" in capsys.readouterr().err


def test_streams_without_credentials_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = execute(["streams", "--dir", str(tmp_path), "--timeout", "0"])
    assert code != Exit.OK
    assert "cannot read the credentials" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["provision", "streams"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([command, "--help"]) == Exit.OK
    assert f"mmn {command}" in capsys.readouterr().out.partition("Examples:")[2]
