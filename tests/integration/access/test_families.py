"""Every family of subjects for every role, both ways: what is listed is allowed, and nothing else is."""

from collections import deque
from collections.abc import AsyncIterator

import nkeys
import pytest
import pytest_asyncio

from contracts import bus, streams, subjects
from contracts.access import roles, tokens
from contracts.access.provision import mint_worker
from contracts.bus import Bus
from tests.kit.nats_server import NatsServer, nats_server

NAMES = {
    "worker": "n1_me",
    "runtime": "n1",
    "anchor": "anchor1",
    "gateway": "gateway1",
    "authority": "authority",
    "operator": "operator",
    "admin": "admin",
    # The last, since it may delete what others are refused.
    "provisioner": "provisioner",
}
SERVICES = "runtime anchor gateway authority"
PEOPLE = "operator admin"

# A subject, who may publish to it, who may subscribe to it.
MMN: list[tuple[str, str, str]] = [
    ("mmn.jobs.submit", f"gateway {PEOPLE}", "anchor"),
    ("mmn.jobs.cancel", f"gateway {PEOPLE}", "anchor"),
    ("mmn.jobs.cancelled", "anchor", "anchor"),
    ("mmn.jobs.queue.live.echo.any", "anchor", ""),
    ("mmn.jobs.queue.batch.echo.n1", "anchor", ""),
    ("mmn.jobs.event.j", "anchor", f"gateway {PEOPLE}"),
    ("mmn.jobs.result.j", "", f"gateway {PEOPLE}"),
    ("mmn.jobs.spent.anchor1", "anchor", "anchor"),
    ("mmn.jobs.spent.anchor2", "", "anchor"),
    ("mmn.jobs.other", "", ""),
    ("mmn.fn.echo", "anchor admin", "worker"),
    ("mmn.fn.echo.n1_me", "anchor admin", "worker"),
    ("mmn.fn.echo.n1_me.cancel", "anchor admin", "worker"),
    ("mmn.fn.echo.n1_other", "anchor admin", ""),
    ("mmn.fn.echo.n2_me", "anchor admin", ""),
    ("mmn.fn.other", "anchor admin", ""),
    ("mmn.fn.other.n1_me", "anchor admin", ""),
    ("mmn.out.j.n1_me", "worker", ""),
    ("mmn.out.j.n1_other", "", ""),
    ("mmn.out.j.n2_me", "", ""),
    ("mmn.out.j.anchor1", "anchor", ""),
    ("mmn.out.j.anchor2", "", ""),
    ("mmn.progress.j.n1_me", "worker", ""),
    ("mmn.progress.j.n1_other", "", ""),
    ("mmn.progress.j.n2_me", "", ""),
    ("mmn.node.n1.announce", "runtime", "runtime"),
    ("mmn.node.n2.announce", "", ""),
    ("mmn.node.n1.drain", "anchor gateway", "runtime"),
    ("mmn.node.n2.drain", "anchor gateway", ""),
    ("mmn.node.n1.restart", "anchor gateway", "runtime"),
    ("mmn.modules.announce", "", f"anchor {PEOPLE}"),
    *((f"mmn.modules.health.{name}", role, f"anchor {PEOPLE}") for role, name in NAMES.items() if role in SERVICES),
    ("mmn.modules.health.n1_me", "worker", f"anchor {PEOPLE}"),
    ("mmn.modules.health.n1_other", "", f"anchor {PEOPLE}"),
    ("mmn.modules.health.n2", "", f"anchor {PEOPLE}"),
    *((f"mmn.logs.{name}", role, "") for role, name in NAMES.items() if role in SERVICES),
    ("mmn.logs.n1_me", "worker", ""),
    ("mmn.logs.n1_other", "", ""),
    ("mmn.logs.gateway2", "", ""),
    ("mmn.audit.gateway1.change", "gateway", ""),
    ("mmn.audit.gateway2.change", "", ""),
    *((f"mmn.authority.{verb}", "gateway", "authority") for verb in ("invite", "join", "revoke", "list")),
    ("mmn.sys.conn.CONNECT", "", "anchor"),
    ("mmn.sys.conn.DISCONNECT", "", "anchor"),
    ("mmn.unheard.of", "", ""),
    ("elsewhere", "", ""),
]
DISCOVERY: list[tuple[str, str, str]] = [
    *((f"$SRV.{verb}", f"anchor gateway {PEOPLE}", f"worker {SERVICES}") for verb in subjects.SERVICE_VERBS),
    ("$SRV.INFO.echo", f"anchor gateway {PEOPLE}", "worker"),
    ("$SRV.INFO.echo.n1_me", f"anchor gateway {PEOPLE}", "worker"),
    ("$SRV.INFO.echo.n1_other", f"anchor gateway {PEOPLE}", ""),
    ("$SRV.INFO.other.n1_me", f"anchor gateway {PEOPLE}", ""),
    *((f"$SRV.STATS.{role}.{NAMES[role]}", f"anchor gateway {PEOPLE}", role) for role in SERVICES.split()),
    ("$SRV.STATS.anchor.anchor2", f"anchor gateway {PEOPLE}", ""),
]
INBOXES: list[tuple[str, str, str]] = [
    ("_INBOX.x.y", SERVICES, PEOPLE),
    ("_INBOX_n1_me.x", "", "worker"),
    ("_INBOX_n1_other.x", "", ""),
    *((f"_INBOX_m.{NAMES[role]}.x", SERVICES, role) for role in (*SERVICES.split(), "provisioner")),
    ("_INBOX_m.gateway2.x", SERVICES, ""),
]
ACCOUNTS: list[tuple[str, str, str]] = [
    (subject, "", "")
    for subject in (
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.CLAIMS.DELETE",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.ACCOUNT.PING.CONNZ",
        "$SYS.ACCOUNT.x.CONNECT",
        "$JS.EVENT.ADVISORY.x",
    )
]
READS = {
    streams.JOBS: "anchor",
    **dict.fromkeys((streams.EVENTS, streams.RESULTS, streams.PROGRESS, streams.HEALTH), "gateway"),
    **dict.fromkeys((streams.MODULES, streams.LOGS), "gateway"),
    "KV_functions": "runtime anchor gateway",
    "KV_plans": "anchor gateway",
    "KV_users": "gateway",
    "KV_settings": "gateway",
    "KV_sessions": "gateway",
}
WRITES = {
    "$KV.functions.x": "anchor gateway",
    "$KV.plans.x": "anchor gateway",
    "$KV.users.x": "gateway",
    "$KV.settings.x": "gateway",
    "$KV.sessions.x": "gateway",
    "$O.bundles.C.x": "gateway",
    "$O.bundles.M.x": "gateway",
}
JETSTREAM: list[tuple[str, str, str]] = [
    *((f"$JS.API.CONSUMER.CREATE.{name}.x", f"{who} provisioner", "") for name, who in READS.items()),
    *((f"$JS.API.CONSUMER.MSG.NEXT.{name}.x", f"{who} provisioner", "") for name, who in READS.items()),
    *((f"$JS.API.STREAM.PURGE.{name}", "provisioner", "") for name in READS),
    *((f"$JS.API.STREAM.UPDATE.{name}", "provisioner", "") for name in READS),
    *((f"$JS.API.STREAM.DELETE.{name}", "provisioner", "") for name in READS),
    ("$JS.API.STREAM.PURGE.OBJ_bundles", "gateway provisioner", ""),
    ("$JS.API.STREAM.CREATE.X", "provisioner", ""),
    ("$JS.API.STREAM.MSG.DELETE.JOBS", "anchor provisioner", ""),
    ("$JS.API.STREAM.MSG.DELETE.RESULTS", "provisioner", ""),
    ("$JS.ACK.JOBS.x.1.1.1.1.0", "anchor", ""),
    ("$JS.ACK.RESULTS.x.1.1.1.1.0", "", ""),
    ("$JS.API.INFO", "provisioner", ""),
    *((subject, who, "") for subject, who in WRITES.items()),
]
TABLE = [*MMN, *DISCOVERY, *INBOXES, *ACCOUNTS, *JETSTREAM]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path_factory.mktemp("families"), nodes=("n1", "n2")) as running:
        yield running


async def connected(server: NatsServer, role: str) -> Bus:
    if role != "worker":
        return await server.connect(next(one for one in roles.MANAGE_ROLES if one.name == role), NAMES[role])
    key = tokens.new_user_key()
    token = mint_worker(
        nkeys.from_seed(bytearray(server.files.node_key("n1").read_bytes().strip())),
        account_key=server.files.account_key("MEASURE"),
        function="echo",
        suffix="me",
        user_key=tokens.public(key),
        lifetime_s=60,
    )
    inbox = subjects.worker_inbox("n1_me")
    return await bus.connect(server.url, bus.KeyCredentials(token, key), identity="n1_me", inbox=inbox)


def refused(connection: Bus) -> set[str]:
    """Which subjects the server refused. The library tells in lower case."""
    return {subject.lower() for subject, _, _ in TABLE if any(f'"{subject.lower()}"' in e for e in connection.denied)}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("way", ["publish", "subscribe", "subscribe in a group"])
@pytest.mark.parametrize("role", NAMES)
async def test_a_role_may_do_what_is_listed_and_nothing_else(server: NatsServer, role: str, way: str) -> None:
    connection = await connected(server, role)
    connection.denied = deque()
    for subject, _, _ in TABLE:
        if way == "publish":
            await connection.nc.publish(subject, b"{}")
        else:
            await connection.nc.subscribe(subject, queue="q" if way.endswith("group") else "")
    await connection.flush()
    place = 1 if way == "publish" else 2
    allowed = {row[0].lower() for row in TABLE if role in row[place].split()}
    asked = {row[0].lower() for row in TABLE}
    assert asked - refused(connection) == allowed
    await connection.nc.close()


def test_the_table_names_every_role_and_every_stream() -> None:
    assert set(NAMES) == {"worker", *(role.name for role in roles.MANAGE_ROLES)}
    told = {row[0] for row in JETSTREAM}
    for config in streams.all_streams():
        assert config.name == "AUDIT" or f"$JS.API.STREAM.PURGE.{config.name}" in told
    assert len(TABLE) * len(NAMES) * 3 > 1000
