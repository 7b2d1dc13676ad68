"""The server's configuration as shipped, and a network made by `mmn provision` and `mmn streams`."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts import bus, subjects
from contracts.access.provision import PROVISIONER_ID, NetworkFiles, provision_streams
from contracts.access.serverconf import Sync
from contracts.tail import stream_status
from gateway.cli import alive
from gateway.cli.__main__ import execute
from gateway.cli.exits import Exit
from tests.kit.eventually import eventually_sync
from tests.kit.nats_server import BINARY


def judged(config: Path) -> str:
    """What the server itself says of a configuration; fails when it refuses."""
    done = subprocess.run([BINARY, "-t", "-c", config], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("sync", ["2m", "always"])
@pytest.mark.parametrize("listen", ["127.0.0.1:-1", "0.0.0.0:4222", "[::]:4222"])
def test_the_server_takes_the_configuration(tmp_path: Path, listen: str, sync: Sync) -> None:
    files = NetworkFiles(tmp_path / "net with spaces")
    files.node_key("n1")
    data = files.nats_dir
    config = tmp_path / "server.conf"
    config.write_text(files.server_config(listen=listen, ports_dir=data, data_dir=data, sync=sync))
    assert "is valid" in judged(config)


def test_the_server_refuses_a_configuration_with_an_unknown_word(tmp_path: Path) -> None:
    """So that the test above can fail."""
    config = tmp_path / "server.conf"
    files = NetworkFiles(tmp_path / "net")
    text = files.server_config(listen="127.0.0.1:-1", ports_dir=tmp_path, data_dir=tmp_path)
    config.write_text(text.replace("max_payload", "max_playload"))
    with pytest.raises(AssertionError, match="max_playload"):
        judged(config)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A server started with what was handed out to it, and nothing else; its hand-out's folder and its URL."""
    out, data = tmp_path / "out", tmp_path / "data"
    data.mkdir()
    arguments = ["provision", "--dir", str(tmp_path / "net"), "--nodes", "fra1,ber1", "--port", "-1"]
    assert execute([*arguments, "--data", str(data), "--hand-out", str(out), "--sync-always"]) == Exit.OK
    with (tmp_path / "nats.log").open("wb") as log:
        server = subprocess.Popen([BINARY, "-c", out / "nats" / "server.conf"], stderr=log)
    try:
        told = eventually_sync(lambda: [json.loads(path.read_text()) for path in data.glob("*.ports")], within=15)
        yield out, f"tls://127.0.0.1:{told[0]['nats'][0].rpartition(':')[2]}"
    finally:
        server.terminate()
        server.wait(10)


async def test_each_process_gets_along_with_what_it_was_handed_out(served: tuple[Path, str]) -> None:
    out, url = served
    ca = bus.read_ca(out / "streams" / "ca.crt")
    arguments = ["streams", "--nats-url", url, "--creds", str(out / "streams" / "nats.creds")]
    arguments += ["--ca", str(out / "streams" / "ca.crt"), "--queue-bound", "77"]
    assert await asyncio.to_thread(execute, arguments) == Exit.OK
    for folder, identity in (("anchor", "anchor1"), ("gateway", "gateway1"), ("node-fra1", "fra1")):
        credentials = bus.FileCredentials(out / folder / "nats.creds")
        connection = await bus.connect(
            url, credentials, identity=identity, inbox=subjects.manage_inbox(identity), ca=ca
        )
        await connection.drain()
    again = await bus.connect(
        url,
        bus.FileCredentials(out / "streams" / "nats.creds"),
        identity=PROVISIONER_ID,
        inbox=subjects.manage_inbox(PROVISIONER_ID),
        ca=ca,
    )
    assert (await stream_status(again, "JOBS")).config.max_msgs_per_subject == 77
    assert await provision_streams(again) == [], "everything is there already"
    await again.drain()
    assert alive.nats(int(url.rpartition(":")[2])) == ""
