"""What each role may not do, asked of a real server. Allowed ways are proven by everything that works."""

from collections.abc import AsyncIterator
from pathlib import Path

import nkeys
import pytest
import pytest_asyncio

from contracts import bus, subjects
from contracts.access import roles, tokens
from contracts.access.provision import mint_worker
from contracts.bus import Bus, CannotConnect
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer, nats_server

JOB = "0193a1b2-0000-7000-8000-00000000000a"
SYSTEM = ["$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.SERVER.PING"]
MAKE_STREAMS = [
    "$JS.API.STREAM.CREATE.X",
    "$JS.API.STREAM.UPDATE.JOBS",
    "$JS.API.STREAM.DELETE.RESULTS",
    "$JS.API.STREAM.PURGE.RESULTS",
    "$JS.API.STREAM.PURGE.JOBS",
]
JETSTREAM = [
    *MAKE_STREAMS,
    "$JS.API.INFO",
    "$JS.API.STREAM.MSG.GET.JOBS",
    "$JS.API.STREAM.MSG.DELETE.JOBS",
    "$JS.API.CONSUMER.CREATE.JOBS.x.y",
    "$JS.API.CONSUMER.MSG.NEXT.JOBS.live_echo_any",
    "$JS.ACK.JOBS.live_echo_any.1.1.1.1.0",
]
FOREIGN_WORKER = ["mmn.out.j.n1_other", "mmn.progress.j.n1_other", "mmn.modules.health.n1_other", "mmn.logs.n1_other"]
OTHER_NODE = ["mmn.out.j.n2_me", "mmn.progress.j.n2_me", "mmn.modules.health.n2_me", "mmn.node.n2.announce"]
BUCKETS = [
    "$KV.functions.echo",
    "$KV.users.admin",
    "$KV.sessions.x",
    "$KV.settings.x",
    "$O.bundles.C.x",
    "$O.bundles.M.x",
]
CALLS = ["mmn.fn.echo", "mmn.fn.echo.n1_me", "mmn.fn.echo.n1_other", "mmn.fn.echo.n1_other.cancel"]
QUEUES = ["mmn.jobs.queue.live.echo.any", "mmn.jobs.event.j", "mmn.jobs.result.j", "mmn.jobs.spent.anchor1"]
AUTHORITY = ["mmn.authority.invite", "mmn.authority.join", "mmn.authority.revoke", "mmn.authority.list"]
AUDIT = [
    "mmn.audit.gateway1.change",
    "$JS.API.CONSUMER.CREATE.AUDIT.x.y",
    "$JS.API.CONSUMER.MSG.NEXT.AUDIT.x",
    "$JS.API.STREAM.MSG.GET.AUDIT",
    "$JS.API.DIRECT.GET.AUDIT",
]
INBOXES = ["_INBOX.x.y", "_INBOX_m.anchor1.x", "_INBOX_m.gateway1.x", "_INBOX_n1_other.x"]

PUBLISH: dict[str, list[str]] = {
    "worker": [
        *SYSTEM,
        *AUDIT,
        *JETSTREAM,
        *FOREIGN_WORKER,
        *OTHER_NODE,
        *BUCKETS,
        *CALLS,
        *QUEUES,
        *INBOXES,
        "_INBOX_n1_me.x",
        "mmn.jobs.submit",
        "mmn.jobs.cancel",
        "mmn.jobs.cancelled",
        "mmn.node.n1.announce",
        "mmn.node.n1.drain",
        "mmn.modules.announce",
        *AUTHORITY,
        "$SRV.PING",
        "$SRV.INFO.echo.n1_other",
    ],
    "runtime": [
        *SYSTEM,
        *AUTHORITY,
        *AUDIT,
        *JETSTREAM,
        *FOREIGN_WORKER,
        *OTHER_NODE,
        *BUCKETS,
        *CALLS,
        *QUEUES,
        "mmn.jobs.submit",
        "mmn.jobs.cancel",
        "mmn.jobs.cancelled",
        "mmn.modules.announce",
        "mmn.node.n2.drain",
        "mmn.out.j.n1",
        "$SRV.PING",
        "$JS.API.DIRECT.GET.KV_users.$KV.users.admin",
        "$JS.API.CONSUMER.CREATE.KV_users.x",
        "$JS.API.DIRECT.GET.KV_sessions.$KV.sessions.x",
        "$JS.API.CONSUMER.CREATE.KV_sessions.x",
        "$JS.API.STREAM.PURGE.OBJ_bundles",
    ],
    "anchor": [
        *SYSTEM,
        *AUTHORITY,
        *AUDIT,
        *MAKE_STREAMS,
        "$KV.users.admin",
        "$KV.sessions.x",
        "$KV.settings.x",
        "$O.bundles.C.x",
        "mmn.out.j.n1_me",
        "mmn.out.j.anchor2",
        "mmn.jobs.spent.anchor2",
        "mmn.node.n1.announce",
        "mmn.modules.announce",
        "mmn.modules.health.n1_me",
        "mmn.jobs.submit",
        "mmn.jobs.cancel",
        "mmn.jobs.result.j",
        "mmn.progress.j.anchor1",
        "$JS.API.DIRECT.GET.KV_users.$KV.users.admin",
        "$JS.API.DIRECT.GET.KV_sessions.$KV.sessions.x",
        "$JS.API.CONSUMER.DELETE.RESULTS.x",
    ],
    "gateway": [
        *SYSTEM,
        *MAKE_STREAMS,
        "mmn.audit.gateway2.change",
        "$JS.API.STREAM.PURGE.AUDIT",
        "$JS.API.STREAM.MSG.DELETE.AUDIT",
        *CALLS,
        *QUEUES,
        "mmn.jobs.cancelled",
        "mmn.out.j.gateway1",
        "mmn.out.j.n1_me",
        "mmn.node.n1.announce",
        "mmn.modules.announce",
        "mmn.modules.health.n1_me",
        "$JS.API.CONSUMER.CREATE.JOBS.x.y",
        "$JS.API.CONSUMER.MSG.NEXT.JOBS.live_echo_any",
        "$JS.API.STREAM.MSG.DELETE.JOBS",
        "$JS.ACK.JOBS.live_echo_any.1.1.1.1.0",
    ],
    "authority": [
        *SYSTEM,
        *AUDIT,
        *JETSTREAM,
        *FOREIGN_WORKER,
        *OTHER_NODE,
        *BUCKETS,
        *CALLS,
        *QUEUES,
        "mmn.jobs.submit",
        "mmn.jobs.cancel",
        "mmn.node.n1.drain",
        "mmn.node.n1.announce",
        "mmn.modules.announce",
        "mmn.authority.invite",
        "$SRV.PING",
    ],
    "operator": [
        *SYSTEM,
        *AUTHORITY,
        *AUDIT,
        *JETSTREAM,
        *BUCKETS,
        *CALLS,
        *QUEUES,
        "mmn.jobs.cancelled",
        "mmn.out.j.operator",
        "mmn.node.n1.drain",
        "mmn.node.n1.announce",
        "mmn.modules.announce",
        "mmn.modules.health.operator",
        "_INBOX_m.anchor1.x",
    ],
}
PUBLISH["admin"] = [subject for subject in PUBLISH["operator"] if subject not in CALLS]
WIDE = [">", "mmn.>", "mmn.fn.>", "mmn.jobs.>", "$SRV.>", "$JS.>", "$KV.>", "$O.>", "$SYS.>", "*.>", "_INBOX_m.>"]
SUBSCRIBE: dict[str, list[str]] = {
    "worker": [
        *WIDE,
        "mmn.audit.*.*",
        "mmn.fn.echo.*",
        "mmn.fn.echo.n1_other",
        "mmn.fn.echo.n1_other.cancel",
        "mmn.fn.other",
        "mmn.jobs.cancel",
        "mmn.jobs.cancelled",
        "mmn.out.*.*",
        "mmn.jobs.result.*",
        "mmn.jobs.spent.*",
        "mmn.modules.health.*",
        "mmn.logs.*",
        "_INBOX.>",
        "_INBOX_n1_other.>",
        "$SRV.INFO.other",
        "$SRV.INFO.echo.n1_other",
        "$SRV.INFO.echo.*",
    ],
    "runtime": [
        *WIDE,
        "mmn.audit.*.*",
        "mmn.node.*.drain",
        "mmn.node.n2.>",
        "mmn.out.*.*",
        "mmn.jobs.result.*",
        "mmn.jobs.spent.*",
        "_INBOX_m.anchor1.>",
        "$SRV.INFO.anchor",
        "$KV.functions.>",
    ],
    "anchor": [
        *WIDE,
        "mmn.audit.*.*",
        "mmn.out.*.*",
        "mmn.logs.*",
        "_INBOX_m.gateway1.>",
        "$SRV.INFO.gateway",
        "$KV.users.>",
    ],
    "gateway": [
        *WIDE,
        "mmn.audit.*.*",
        "mmn.out.*.*",
        "mmn.jobs.submit",
        "mmn.jobs.cancel",
        "mmn.jobs.spent.*",
        "_INBOX_m.anchor1.>",
        "$SRV.INFO.anchor",
        "$KV.users.>",
    ],
    "operator": [
        *WIDE,
        "mmn.audit.*.*",
        "mmn.out.*.*",
        "mmn.jobs.submit",
        "mmn.jobs.cancelled",
        "mmn.jobs.spent.*",
        "mmn.logs.*",
        "mmn.jobs.queue.*.*.*",
    ],
    "authority": [
        *WIDE,
        "mmn.audit.*.*",
        "mmn.out.*.*",
        "mmn.jobs.submit",
        "mmn.logs.*",
        "_INBOX_m.gateway1.>",
        "$SRV.INFO.gateway",
        "$KV.users.>",
    ],
}
SUBSCRIBE["admin"] = [*SUBSCRIBE["operator"], *CALLS]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path_factory.mktemp("matrix"), nodes=("n1", "n2")) as running:
        yield running


async def join(server: NatsServer, role: str) -> Bus:
    """One identity of each role: worker `n1_me` of echo, runtime n1, anchor1, gateway1, operator, admin."""
    if role == "worker":
        return await worker(server)
    names = {
        "runtime": "n1",
        "anchor": "anchor1",
        "gateway": "gateway1",
        "authority": "authority",
        "operator": "operator",
        "admin": "admin",
    }
    found = next(one for one in roles.MANAGE_ROLES if one.name == role)
    return await server.connect(found, names[role])


async def worker(server: NatsServer, *, suffix: str = "me", function: str = "echo", identity: str = "n1_me") -> Bus:
    files, key = server.files, tokens.new_user_key()
    token = mint_worker(
        nkeys.from_seed(bytearray(files.node_key("n1").read_bytes().strip())),
        account_key=files.account_key("MEASURE"),
        function=function,
        suffix=suffix,
        user_key=tokens.public(key),
        lifetime_s=60,
    )
    return await bus.connect(
        server.url, bus.KeyCredentials(token, key), identity=identity, inbox=subjects.worker_inbox(identity)
    )


async def denied(connection: Bus, text: str) -> bool:
    """Whether the server refused the subject; nats-py tells in lower case, after the fact."""
    await connection.flush()
    return any(f'"{text.lower()}"' in error for error in connection.denied)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("role", sorted(PUBLISH))
async def test_what_a_role_may_not_publish(server: NatsServer, role: str) -> None:
    connection = await join(server, role)
    for subject in PUBLISH[role]:
        connection.denied.clear()
        await connection.nc.publish(subject, b"{}")
        assert await denied(connection, subject), f"{role} could publish {subject}"
    await connection.drain()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("role", sorted(SUBSCRIBE))
@pytest.mark.parametrize("group", ["", "q"], ids=["plain", "queue"])
async def test_what_a_role_may_not_subscribe(server: NatsServer, role: str, group: str) -> None:
    connection = await join(server, role)
    for subject in SUBSCRIBE[role]:
        connection.denied.clear()
        await connection.nc.subscribe(subject, queue=group)
        assert await denied(connection, subject), f"{role} could subscribe {subject}"
    await connection.drain()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("role", sorted(PUBLISH))
async def test_what_a_role_needs_it_has(server: NatsServer, role: str) -> None:
    own = {
        "worker": (
            ["mmn.out.j.n1_me", "mmn.progress.j.n1_me", "mmn.logs.n1_me"],
            ["mmn.fn.echo.n1_me", "mmn.fn.echo.n1_me.cancel", "mmn.fn.echo"],
        ),
        "runtime": (["mmn.node.n1.announce", "mmn.modules.health.n1"], ["mmn.node.n1.drain"]),
        "anchor": (
            [
                "mmn.fn.echo.n1_me",
                "mmn.fn.echo.n1_me.cancel",
                "mmn.jobs.event.j",
                subjects.CANCELLED,
                subjects.spent("anchor1"),
                "$SRV.INFO",
            ],
            [subjects.SUBMIT, subjects.CANCEL, subjects.CANCELLED, subjects.HEALTH, subjects.SPENT],
        ),
        "gateway": (
            [subjects.SUBMIT, subjects.CANCEL, "$SRV.PING", "$KV.functions.x", subjects.audit("gateway1", "change")],
            [subjects.RESULTS],
        ),
        "operator": ([subjects.SUBMIT, subjects.CANCEL, "$SRV.PING"], [subjects.RESULTS, "_INBOX.>"]),
        "admin": ([subjects.SUBMIT, "$SRV.PING", *CALLS], [subjects.RESULTS, "_INBOX.>"]),
        "authority": (["mmn.modules.health.authority", "_INBOX_m.gateway1.x"], [subjects.AUTHORITY]),
    }
    connection = await join(server, role)
    publish, subscribe = own[role]
    for subject in publish:
        await connection.nc.publish(subject, b"{}")
    for subject in subscribe:
        await connection.nc.subscribe(subject)
    await connection.settle()
    assert not connection.denied
    await connection.drain()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("suffix", ["*", ">", "me.>", "other"])
async def test_a_nodes_key_makes_no_worker_of_another_node(server: NatsServer, suffix: str) -> None:
    """Whoever holds a node's key chooses name and tags; the node itself is literal in the template."""
    files, key = server.files, tokens.new_user_key()
    node_key = nkeys.from_seed(bytearray(files.node_key("n1").read_bytes().strip()))
    for tag in ("fn:echo", "fn:*", "fn:>", "fn:echo.>"):
        token = tokens.user(
            tokens.public(key), node_key, account_key=files.account_key("MEASURE"), name=suffix, tags=[tag]
        )
        try:
            connection = await bus.connect(
                server.url, bus.KeyCredentials(token, key), identity="thief", inbox="_INBOX_thief"
            )
        except CannotConnect:
            continue
        for subject in ("mmn.out.j.n2_me", "mmn.progress.j.n2_me", "mmn.modules.health.n2_me", "mmn.jobs.submit"):
            connection.denied.clear()
            await connection.nc.publish(subject, b"{}")
            assert await denied(connection, subject), f"{suffix} {tag}: {subject}"
        await connection.nc.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_an_ack_cannot_be_sent_where_a_worker_wants_it(server: NatsServer) -> None:
    """The reply subject of a stored message is the publisher's choice; it must lead nowhere."""
    thief, watcher = await worker(server), await server.connect(roles.PROVISIONER, "watcher")
    gateway = await server.connect(roles.GATEWAY, "gateway1")
    bucket = await gateway.js.key_value("functions")
    await bucket.put("echo", b"as it was")
    announced = (await watcher.js.stream_info("MODULES")).state.messages
    before = (await watcher.js.stream_info("RESULTS")).state.messages
    for subject in ("mmn.out.j9.n1_me", "mmn.progress.j9.n1_me", "mmn.modules.health.n1_me", "mmn.logs.n1_me"):
        for reply in ("$KV.functions.echo", "mmn.jobs.submit", "mmn.fn.echo.n1_other", "mmn.node.n1.announce"):
            await thief.nc.publish(subject, b"{}", reply=reply)
    await thief.flush()

    async def stored() -> bool:
        info = await watcher.js.stream_info("RESULTS")
        return info.state.messages >= before + 4

    await eventually(stored, within=5)
    assert (await bucket.get("echo")).value == b"as it was"
    assert (await watcher.js.stream_info("MODULES")).state.messages == announced
    for connection in (thief, watcher, gateway):
        await connection.drain()


async def test_a_wrong_credential_is_told_at_once(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as server:
        key = tokens.new_user_key()
        forged = tokens.user(
            tokens.public(key),
            tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT),
            account_key=server.files.account_key("MANAGE"),
            name="x",
        )
        with pytest.raises(CannotConnect, match="Authorization"):
            await bus.connect(server.url, bus.KeyCredentials(forged, key), identity="x", inbox="_INBOX_x")


def test_the_matrix_names_every_role() -> None:
    assert set(PUBLISH) == set(SUBSCRIBE) == {"worker", *(role.name for role in roles.MANAGE_ROLES)} - {"provisioner"}
