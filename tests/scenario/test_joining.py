"""A host joins a running network by the command line, measures, and is revoked: as people do it."""

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import MMN, Ran, RunningNetwork, environment, finished, mmn


@contextmanager
def joined(token: str, state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`mmn node join TOKEN` on a host that has nothing else: no login, a state directory of its own."""
    state.mkdir()
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            [*MMN, "node", "join", token, "--dir", str(state / "node")],
            env=environment(state),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def refused(token: str, state: Path, *more: str) -> Ran:
    ran = mmn("node", "join", token, "--dir", str(state / "node"), *more, state=state)
    assert ran.code != 0
    assert not (state / "node").exists(), "nothing is kept of a join that failed"
    return ran


def secrets_of(home: Path) -> list[bytes]:
    """The seeds that were made on the host: that of its user and that of its node's signing key."""
    user = (home / "nats.creds").read_text().split("BEGIN USER NKEY SEED-----")[1].split()[0]
    return [user.encode(), (home / "signing.key").read_bytes().strip()]


def up_on(network: RunningNetwork, node: str) -> list[str]:
    return [
        module["instance"]
        for module in network.api.get("/modules").json()
        if module["kind"] == "worker" and module["node"] == node and module["state"] == "up"
    ]


@pytest.mark.timeout(240)
def test_a_host_joins_measures_and_is_cut_off(own_network: RunningNetwork, tmp_path: Path) -> None:
    invited = own_network.mmn("node", "invite", "edge1", "--label", "site=edge", "-o", "json").json()
    token, home = str(invited["token"]), tmp_path / "host" / "node"
    assert "the token is for edge1, not for edge2" in refused(token, tmp_path / "thief", "--name", "edge2").err
    forged = refused(f"mmn-join-{'A' * 43}@{own_network.url}", tmp_path / "thief")
    assert forged.code == 3
    assert "the token is unknown" in forged.err
    with joined(token, tmp_path / "host"):
        eventually_sync(lambda: up_on(own_network, "edge1"), within=60)
        assert "was used already" in refused(token, tmp_path / "thief").err
        assert {stat.S_IMODE(path.stat().st_mode) for path in home.glob("*.*")} == {0o600}
        told = own_network.api.post("/jobs", json={"function": "echo", "node": "edge1", "params": {"text": "hello"}})
        assert told.status_code == 202, told.text
        assert finished(own_network.api, told.json()["job"])["labels"] == {"site": "edge"}
        kept = [path.read_bytes() for path in own_network.folder.rglob("*") if path.is_file()]
        assert not [seed for seed in secrets_of(home) if any(seed in content for content in kept)]
        assert own_network.mmn("node", "revoke", "edge1").code == 0
        eventually_sync(lambda: not up_on(own_network, "edge1"), within=30)
    acts = {(one["action"], one["object"]) for one in own_network.mmn("audit", "-o", "json").json()}
    assert {(act, "node edge1") for act in ("invite_member", "join_network", "revoke_member")} <= acts
    members = {one["name"]: one for one in own_network.mmn("access", "list", "-o", "json").json()}
    assert members["edge1"]["revoked"]
    assert not members["n1"]["revoked"]
    assert up_on(own_network, "n1"), "the others work on"


@pytest.mark.timeout(180)
def test_only_an_admin_invites_and_only_the_authority_has_the_keys(own_network: RunningNetwork, tmp_path: Path) -> None:
    own_network.api.put("/users/op", json={"role": "operator", "password": "correct horse"})
    state = tmp_path / "operator"
    login = mmn("login", own_network.url, "--user", "op", "--password-stdin", state=state, text="correct horse\n")
    assert login.code == 0, login
    for command in (("node", "invite", "edge9"), ("module", "invite", "lab9", "echo"), ("node", "revoke", "n1")):
        denied = mmn(*command, state=state)
        assert denied.code == 3
        assert "needs the role admin" in denied.err
    keys = os.fsencode(own_network.folder / "keys")
    told = own_network.stack()["pids"]
    others = [told["gateway"][0], *told["anchor"].values(), *told["runtime"].values()]
    for pid in others:
        for name in ("environ", "cmdline"):
            assert keys not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert b"MMN_AUTHORITY" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert json.loads((own_network.folder / "stack.json").read_text())["pids"]["authority"]
