"""Attacks by a worker, a runtime and an operator whose credentials are in wrong hands; each of them must fail."""

import json
from collections.abc import AsyncIterator

import nats.errors
import nkeys
import pytest
import pytest_asyncio

from contracts import bus, streams, subjects
from contracts.access import roles, tokens
from contracts.access.provision import PROVISIONER_ID, mint_worker
from contracts.bus import Bus
from contracts.service import Answer, Ask, Service, answer
from tests.kit.nats_server import NatsServer, nats_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
BAIT = b"as it was"
VICTIMS = (
    "$KV.functions.bait",
    "$KV.users.bait",
    "$KV.settings.bait",
    "mmn.jobs.submit",
    "mmn.jobs.queue.live.echo.any",
    "mmn.fn.echo.n1_other",
    "mmn.node.n1.announce",
    "mmn.authority.revoke",
    "_INBOX_m.anchor1.x",
    "$JS.API.STREAM.PURGE.RESULTS",
    "$JS.API.STREAM.DELETE.JOBS",
)
WRITES = {
    "worker": ("mmn.out.{n}.n1_me", "mmn.progress.{n}.n1_me", "mmn.modules.health.n1_me", "mmn.logs.n1_me"),
    "runtime": ("mmn.node.n1.announce", "mmn.modules.health.n1", "mmn.logs.n1"),
}
STREAMS = (
    streams.JOBS,
    streams.RESULTS,
    streams.EVENTS,
    streams.PROGRESS,
    streams.MODULES,
    streams.HEALTH,
    streams.LOGS,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path_factory.mktemp("attacks"), nodes=("n1", "n2")) as running:
        yield running


async def worker(server: NatsServer, suffix: str = "me") -> Bus:
    files, key = server.files, tokens.new_user_key()
    token = mint_worker(
        nkeys.from_seed(bytearray(files.node_key("n1").read_bytes().strip())),
        account_key=files.account_key("MEASURE"),
        function="echo",
        suffix=suffix,
        user_key=tokens.public(key),
        lifetime_s=120,
    )
    identity = f"n1_{suffix}"
    return await bus.connect(
        server.url, bus.KeyCredentials(token, key), identity=identity, inbox=subjects.worker_inbox(identity)
    )


async def attacker(server: NatsServer, role: str) -> Bus:
    return await worker(server) if role == "worker" else await server.connect(roles.RUNTIME, "n1")


class Watch:
    """What an attack could change, seen by somebody who may see everything in MANAGE."""

    def __init__(self, connection: Bus) -> None:
        self._bus = connection
        self.heard: list[str] = []

    @classmethod
    async def open(cls, server: NatsServer) -> "Watch":
        files, key = server.files, tokens.new_user_key()
        # The account's own key makes users without limits: nobody but the authority has it.
        nats_claims = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        token = tokens.encode(
            {"sub": tokens.public(key), "name": "sees", "nats": nats_claims}, files.accounts["MANAGE"]
        )
        self = cls(await bus.connect(server.url, bus.KeyCredentials(token, key), identity="sees", inbox="_INBOX_sees"))
        for bucket in (streams.BUCKET_FUNCTIONS, streams.BUCKET_USERS, streams.BUCKET_SETTINGS):
            await (await self._bus.js.key_value(bucket)).put("bait", BAIT)
        for victim in VICTIMS:
            await self._bus.listen(victim, lambda msg: self.heard.append(msg.subject))
        await self._bus.settle()
        return self

    async def messages(self) -> dict[str, int]:
        return {name: (await self._bus.js.stream_info(name)).state.messages for name in STREAMS}

    async def bait(self) -> set[bytes | None]:
        return {
            (await (await self._bus.js.key_value(bucket)).get("bait")).value
            for bucket in (streams.BUCKET_FUNCTIONS, streams.BUCKET_USERS, streams.BUCKET_SETTINGS)
        }

    async def close(self) -> None:
        await self._bus.drain()


async def settled(*connections: Bus) -> None:
    """Everything sent so far has had its effect: the server handles one connection's messages in order."""
    for _ in range(2):
        for connection in connections:
            await connection.flush()


@pytest.mark.parametrize("role", sorted(WRITES))
async def test_no_acknowledgement_goes_where_a_writer_wants_it(server: NatsServer, role: str) -> None:
    thief, watch = await attacker(server, role), await Watch.open(server)
    jobs = (await watch.messages())[streams.JOBS]
    for number, victim in enumerate(VICTIMS):
        for subject in WRITES[role]:
            # A runtime may announce, so its own subject is no victim of its own.
            if victim != subject:
                await thief.nc.publish(subject.format(n=f"j{number}"), b"{}", reply=victim)
    await settled(thief, watch._bus, thief)
    assert [subject for subject in watch.heard if not (role == "runtime" and subject.endswith("announce"))] == []
    assert await watch.bait() == {BAIT}
    assert (await watch.messages())[streams.JOBS] == jobs
    await thief.drain()
    await watch.close()


@pytest.mark.parametrize("role", sorted(WRITES))
@pytest.mark.parametrize("rollup", ["all", "sub"])
async def test_no_rollup_header_empties_a_stream(server: NatsServer, role: str, rollup: str) -> None:
    thief, watch = await attacker(server, role), await Watch.open(server)
    for subject in WRITES[role]:
        await thief.nc.publish(subject.format(n=f"kept{rollup}"), b"{}")
    await settled(thief)
    before = await watch.messages()
    for subject in WRITES[role]:
        await thief.nc.publish(subject.format(n=f"rolled{rollup}"), b"{}", headers={"Nats-Rollup": rollup})
    await settled(thief)
    after = await watch.messages()
    assert all(after[name] >= before[name] for name in STREAMS), (before, after)
    await thief.drain()
    await watch.close()


async def test_a_poisoned_message_id_keeps_nobodys_result_out(server: NatsServer) -> None:
    thief, honest = await worker(server), await worker(server, "honest")
    watch = await Watch.open(server)
    await thief.nc.publish("mmn.out.mine.n1_me", b"{}", headers={"Nats-Msg-Id": "theirs"})
    await settled(thief)
    before = (await watch.messages())[streams.RESULTS]
    headers = {
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Expected-Last-Subject-Sequence-Subject": subjects.out_any("theirs"),
    }
    reply = await honest.request(subjects.out("theirs", "n1_honest"), b"{}", within=5, headers=headers)
    assert "duplicate" not in json.loads(reply.data)
    assert (await watch.messages())[streams.RESULTS] == before + 1
    for connection in (thief, honest):
        await connection.drain()
    await watch.close()


async def test_nobody_writes_a_result_or_an_announcement_in_anothers_name(server: NatsServer) -> None:
    thief, runtime = await worker(server), await server.connect(roles.RUNTIME, "n1")
    for connection, subject in (
        (thief, "mmn.out.j.n1_other"),
        (thief, "mmn.out.j.n2_me"),
        (thief, "mmn.node.n1.announce"),
        (runtime, "mmn.node.n2.announce"),
        (runtime, "mmn.out.j.n1_me"),
        (runtime, "mmn.modules.announce"),
    ):
        connection.denied.clear()
        await connection.nc.publish(subject, b"{}")
        await connection.flush()
        assert any(subject in text for text in connection.denied), subject
    await thief.drain()


async def test_a_forged_broadcast_gives_nobody_anothers_subject(server: NatsServer) -> None:
    """Anyone may answer a broadcast as anyone; the subject that proves an instance is that instance's alone."""
    thief, anchor = await worker(server), await server.connect(roles.ANCHOR, "anchor1")
    thief.denied.clear()
    await thief.nc.subscribe(subjects.service("INFO", "echo", "n1_other"))
    await thief.flush()
    assert thief.denied
    with pytest.raises(nats.errors.NoRespondersError):
        await anchor.request(subjects.service("INFO", "echo", "n1_other"), within=2)
    await thief.drain()


@pytest.mark.parametrize("victim", ["$KV.functions.bait", "$KV.users.bait", "mmn.jobs.submit"])
async def test_no_service_answers_into_a_bucket(server: NatsServer, victim: str) -> None:
    """A bug once: the reply of a question was believed, so an operator could have a gateway write over a user."""
    gateway, operator = await server.connect(roles.GATEWAY, "answers"), await server.connect(roles.OPERATOR, "operator")
    watch = await Watch.open(server)
    service = Service(gateway, name="gateway", instance="answers", version="1.0.0", description="x")
    asked: list[str] = []

    async def handle(ask: Ask) -> Answer:
        asked.append(ask.reply)
        return answer({})

    await service.start()
    await service.add("x", f"{subjects.manage_inbox('answers')}.endpoint", handle)
    await gateway.settle()
    for verb in subjects.SERVICE_VERBS:
        for subject in (subjects.service(verb), subjects.service(verb, "gateway", "answers")):
            await operator.nc.publish(subject, b"", reply=victim)
    anchor = await server.connect(roles.ANCHOR, "anchor1")
    await anchor.nc.publish(f"{subjects.manage_inbox('answers')}.endpoint", b"", reply=victim)
    await anchor.request(f"{subjects.manage_inbox('answers')}.endpoint", within=5)
    reply = await operator.request(subjects.service("PING", "gateway", "answers"), within=5)
    assert json.loads(reply.data)["id"] == "answers", "an honest question is answered"
    await settled(operator, gateway, anchor, watch._bus)
    assert victim not in asked
    assert len(asked) == 1, "the honest question alone"
    assert watch.heard == []
    assert await watch.bait() == {BAIT}
    assert list(gateway.denied) == []
    await service.stop()
    await watch.close()


async def test_the_provisioner_is_the_only_one_who_makes_streams(server: NatsServer) -> None:
    provisioner = await server.connect(roles.PROVISIONER, PROVISIONER_ID)
    assert (await provisioner.js.stream_info(streams.JOBS)).config.name == streams.JOBS
