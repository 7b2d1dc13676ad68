"""A worker and a runtime that mean harm, in a whole network: gateway and Anchor stay what they are and serve on."""

import nkeys
import pytest

from contracts import bus, streams, subjects
from contracts.access import roles, tokens
from contracts.access.provision import PROVISIONER_ID, NetworkFiles, mint_worker
from contracts.bus import Bus
from contracts.tail import stream_status
from tests.kit.eventually import eventually, eventually_sync
from tests.kit.hostile import messages, send_raw, unreadable
from tests.kit.network import RunningNetwork, finished

INSTANCE = "n1_evil"


async def intruder(network: RunningNetwork) -> Bus:
    """A worker's identity, as its node can make it, in the hands of somebody else's program."""
    files, key = NetworkFiles(network.folder), tokens.new_user_key()
    token = mint_worker(
        nkeys.from_seed(bytearray(files.node_key("n1").read_bytes().strip())),
        account_key=files.account_key("MEASURE"),
        function="echo",
        suffix="evil",
        user_key=tokens.public(key),
        lifetime_s=600,
    )
    told = network.stack()["nats"]
    return await bus.connect(
        told["url"],
        bus.KeyCredentials(token, key),
        identity=INSTANCE,
        inbox=subjects.worker_inbox(INSTANCE),
        ca=bus.read_ca(files.tls_dir / "ca.crt"),
    )


async def member(network: RunningNetwork, role: roles.Role, identity: str, file: str) -> Bus:
    files = NetworkFiles(network.folder)
    credentials = bus.FileCredentials(files.credentials(role, identity, file=file))
    inbox, ca = subjects.manage_inbox(identity), bus.read_ca(files.tls_dir / "ca.crt")
    return await bus.connect(network.stack()["nats"]["url"], credentials, identity=identity, inbox=inbox, ca=ca)


async def assault(evil: Bus, runtime: Bus) -> None:
    """Send everything harmful on every subject that the two may use."""
    told = {
        subjects.health(INSTANCE): (evil, "Health"),
        subjects.out("j1", INSTANCE): (evil, "Result"),
        subjects.progress("j1", INSTANCE): (evil, "Progress"),
        subjects.logs(INSTANCE): (evil, "Log"),
        subjects.announce("n1"): (runtime, "Announcement"),
    }
    for subject, (speaker, kind) in told.items():
        for _, data, media in messages(kind):
            await speaker.publish(subject, data, media=media)
        for name, protocol in unreadable(subject.encode()).items():
            if speaker is evil or name != "headers that are none":
                await send_raw(speaker, protocol)
    for token in (b"\xff", b"a\x0bb", b"\x0c"):
        for where in (b"out", b"progress"):
            await send_raw(evil, b"PUB mmn.%b.%b.%b 2\r\nhi\r\n" % (where, token, INSTANCE.encode()))


async def test_a_network_serves_on_whatever_one_of_its_workers_and_runtimes_sends(own_network: RunningNetwork) -> None:
    network = own_network
    before = {role: network.pid(role) for role in ("gateway", "nats-server")}
    evil, runtime = await intruder(network), await member(network, roles.RUNTIME, "n1", "runtime-n1")
    await assault(evil, runtime)
    await evil.drain()
    await runtime.drain()

    def serves() -> bool:
        job = network.api.post("/jobs", json={"function": "echo", "params": {"text": "after"}}).json()["job"]
        return bool(finished(network.api, job)["data"]["text"] == "after")

    eventually_sync(serves, within=30, every=0.5)
    for path in ("/modules", "/functions", "/jobs", "/results", "/status"):
        assert network.api.get(path).status_code == 200, path
    assert {role: network.pid(role) for role in before} == before
    manager = await member(network, roles.PROVISIONER, PROVISIONER_ID, PROVISIONER_ID)

    async def empty() -> bool:
        return (await stream_status(manager, streams.JOBS)).state.messages == 0

    assert await eventually(empty, within=10)
    await manager.drain()
    for name in ("anchor1", "gateway"):
        log = (network.folder / "logs" / f"{name}.log").read_text()
        assert "Traceback" not in log, log[-3000:]
        assert "reconnected to NATS" not in log


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"function":"echo","params":{"text":%d}}' % 2**70, "params.text"),
        (b'{"function":"echo","params":{"text":' + b"[" * 80 + b"]" * 80 + b"}}", "params.text"),
        (b'{"function":"echo","v":2}', "v"),
    ],
    ids=["number", "depth", "version"],
)
def test_what_the_gateway_could_not_send_on_is_refused_by_name(
    network: RunningNetwork, body: bytes, field: str
) -> None:
    refused = network.api.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["field"][: len(field)]) == (400, field), refused.text
