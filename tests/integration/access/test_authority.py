"""Members join and are cut off while everything runs: no restart, no reload, nobody else disturbed."""

from collections.abc import AsyncIterator
from pathlib import Path

import nkeys
import pytest
import pytest_asyncio

from contracts import bus, clock, subjects
from contracts.access import roles, tokens
from contracts.access.book import load
from contracts.access.provision import mint_worker
from contracts.bus import Bus, CannotConnect
from contracts.errors import Refused
from contracts.membership import Invite, Join, Revoke
from tests.kit.authority import AuthorityProcess, Host
from tests.kit.eventually import eventually
from tests.kit.nats_server import nats_server

# On a busy machine the process alone takes half a minute to start.
pytestmark = pytest.mark.timeout(180)
CUT_OFF_S = 1.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authority(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AuthorityProcess]:
    async with nats_server(tmp_path_factory.mktemp("authority"), nodes=("n1", "n2"), tls=True) as server:
        process = AuthorityProcess(server)
        try:
            await process.start()
            yield process
        finally:
            await process.stop()


async def joined(authority: AuthorityProcess, name: str) -> tuple[Host, Bus]:
    """A node that was invited, has joined and is connected."""
    host = Host()
    invitation = await authority.invite(Invite(kind="node", name=name, labels={"site": name}))
    told = await authority.join(host.answer(invitation.token))
    return host, await host.connect(authority.server, told)


async def worker_of(authority: AuthorityProcess, host: Host, node: str, key: nkeys.KeyPair | None = None) -> Bus:
    """A worker of a node, by a token that its runtime made."""
    key = key or tokens.new_user_key()
    token = mint_worker(
        host.signing,
        account_key=authority.server.files.account_key("MEASURE"),
        function="echo",
        suffix="w",
        user_key=tokens.public(key),
        lifetime_s=60,
    )
    return await bus.connect(
        authority.server.url,
        bus.KeyCredentials(token, key),
        identity=f"{node}_w",
        inbox=subjects.worker_inbox(f"{node}_w"),
        ca=bus.read_ca(authority.server.ca),
    )


async def cut_off(connection: Bus) -> float:
    """Seconds until the server has ended a connection; it must not come back."""
    began = clock.monotonic_ns()
    await eventually(lambda: not connection.nc.is_connected, within=10, every=0.005)
    took = (clock.monotonic_ns() - began) / 1e9
    # Tried again and again, and refused each time.
    before = connection.reconnects
    server = connection.nc._server_pool[0]
    await eventually(lambda: server.reconnects >= 2, within=10)
    assert connection.reconnects == before
    return took


@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_joins_a_running_network(authority: AuthorityProcess) -> None:
    resident = await authority.server.connect(roles.ANCHOR, "anchor1")
    host, runtime = await joined(authority, "fra1")
    await runtime.nc.publish(subjects.announce("fra1"), b"{}")
    await runtime.nc.publish(subjects.announce("n1"), b"{}")
    await runtime.flush()
    assert [text for text in runtime.denied if "fra1" in text] == []
    assert len(runtime.denied) == 1, "it may announce for itself alone"
    worker = await worker_of(authority, host, "fra1")
    await worker.nc.publish(subjects.health("fra1_w"), b"{}")
    await worker.settle()
    assert resident.reconnects == 0, "nobody else is disturbed"
    told = {member.name: member for member in (await authority.members()).members}
    assert told["fra1"].labels == {"site": "fra1"}
    assert told["n1"].joined is None
    await worker.drain()
    await runtime.drain()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_is_good_once_and_for_its_name(authority: AuthorityProcess) -> None:
    token = (await authority.invite(Invite(kind="node", name="once"))).token
    with pytest.raises(Refused, match="the token is for once, not for other"):
        await authority.join(Host().answer(token, name="other"))
    await authority.join(Host().answer(token, name="once"))
    with pytest.raises(Refused, match="was used already") as refused:
        await authority.join(Host().answer(token))
    assert refused.value.code == 409
    assert token not in authority.server.files.book_file.read_text(), "only its hash is kept"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_forged_and_an_expired_token_are_refused(authority: AuthorityProcess) -> None:
    with pytest.raises(Refused, match="unknown") as refused:
        await authority.join(Host().answer("mmn-join-" + "x" * 43))
    assert refused.value.code == 403
    token = (await authority.invite(Invite(kind="node", name="late", valid_s=1))).token

    async def expired() -> bool:
        with pytest.raises(Refused) as late:
            await authority.join(Host().answer(token, name="wrong"))
        return late.value.code == 410

    await eventually(expired, within=5)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("key", ["U" + "A" * 55, "SUA", "", "A" * 56])
async def test_a_key_that_is_none_is_refused(authority: AuthorityProcess, key: str) -> None:
    token = (await authority.invite(Invite(kind="node", name="badkey"))).token
    with pytest.raises(Refused, match="key"):
        await authority.ask(
            "join", f'{{"token":"{token}","user_key":"{key}","signing_key":"{tokens.public(Host().signing)}"}}'.encode()
        )
    host = Host()
    with pytest.raises(Refused, match="signing_key"):
        await authority.join(Join(token=token, user_key=tokens.public(host.user)))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_name_that_is_taken_is_not_given_out_again(authority: AuthorityProcess) -> None:
    for name in ("n1", "twice"):
        if name == "twice":
            await authority.join(Host().answer((await authority.invite(Invite(kind="node", name=name))).token))
        with pytest.raises(Refused, match="is a member already") as refused:
            await authority.invite(Invite(kind="node", name=name))
        assert refused.value.code == 409


@pytest.mark.asyncio(loop_scope="module")
async def test_a_revoked_node_and_its_workers_are_cut_off_within_a_second_and_for_good(
    authority: AuthorityProcess,
) -> None:
    host, runtime = await joined(authority, "gone1")
    worker = await worker_of(authority, host, "gone1")
    _, other = await joined(authority, "stays1")
    await authority.revoke(Revoke(kind="node", name="gone1"))
    assert await cut_off(worker) < CUT_OFF_S
    assert await cut_off(runtime) < CUT_OFF_S
    with pytest.raises(CannotConnect, match=r"(?i)authorization"):
        await worker_of(authority, host, "gone1")
    assert other.nc.is_connected
    assert other.reconnects == 0
    for connection in (runtime, worker, other):
        await connection.nc.close()
    again, back = await joined(authority, "gone1")
    assert again.user is not host.user
    await back.drain()


@pytest.mark.asyncio(loop_scope="module")
async def test_one_worker_is_revoked_and_its_siblings_work_on(
    authority: AuthorityProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, runtime = await joined(authority, "one1")
    key = tokens.new_user_key()
    bad, good = await worker_of(authority, host, "one1", key), await worker_of(authority, host, "one1")
    await authority.revoke(Revoke(kind="user", name=tokens.public(key)))
    assert await cut_off(bad) < CUT_OFF_S
    later = clock.wall_ns() + 100 * 1_000_000_000
    with monkeypatch.context() as patched:
        # The node's runtime may make it another token, which is newer than the revocation.
        patched.setattr(clock, "wall_ns", lambda: later)
        with pytest.raises(CannotConnect, match=r"(?i)authorization"):
            await worker_of(authority, host, "one1", key)
    assert good.nc.is_connected
    assert good.reconnects == 0
    for connection in (runtime, bad, good):
        await connection.nc.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_one_user_of_the_management_plane_is_revoked_by_name(authority: AuthorityProcess) -> None:
    server = authority.server
    thief, other = await server.connect(roles.GATEWAY, "thief"), await server.connect(roles.GATEWAY, "honest")
    await authority.revoke(Revoke(kind="user", name="thief"))
    assert await cut_off(thief) < CUT_OFF_S
    with pytest.raises(CannotConnect, match=r"(?i)authorization"):
        await server.connect(roles.GATEWAY, "thief")
    assert other.nc.is_connected
    with pytest.raises(Refused, match="does not revoke itself"):
        await authority.revoke(Revoke(kind="user", name="authority"))
    with pytest.raises(Refused, match="no credentials nobody"):
        await authority.revoke(Revoke(kind="user", name="nobody"))
    await thief.nc.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_that_was_provisioned_can_be_revoked_too(authority: AuthorityProcess) -> None:
    runtime = await authority.server.connect(roles.RUNTIME, "n2")
    file = authority.server.files.credentials(roles.RUNTIME, "n2")
    file.rename(file.with_name("runtime-n2.creds"))
    await authority.revoke(Revoke(kind="node", name="n2"))
    assert await cut_off(runtime) < CUT_OFF_S
    with pytest.raises(Refused, match="no node n2"):
        await authority.revoke(Revoke(kind="node", name="n2"))
    await runtime.nc.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_guessed_tokens_are_rationed(authority: AuthorityProcess) -> None:
    refused: list[tuple[int, bool]] = []
    for number in range(25):
        with pytest.raises(Refused) as told:
            await authority.join(Host().answer(f"mmn-join-{number:043}"))
        refused.append((told.value.code, told.value.retry_after is not None))
    assert set(refused[:15]) == {(403, False)}
    assert refused[-1] == (429, True)


async def test_who_was_revoked_stays_out_when_server_and_authority_start_again(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as server:
        process = AuthorityProcess(server)
        try:
            await process.start()
            host, runtime = await joined(process, "out1")
            keeper, kept = await joined(process, "kept1")
            await process.revoke(Revoke(kind="node", name="out1"))
            await cut_off(runtime)
            await process.stop()
            await server.stop()
            await server.start()
            assert load(server.files.book_file).places["out1"].revoked
            await eventually(lambda: kept.nc.is_connected, within=10)
            with pytest.raises(CannotConnect, match=r"(?i)authorization"):
                await worker_of(process, host, "out1")
            worker = await worker_of(process, keeper, "kept1")
            for connection in (runtime, kept, worker):
                await connection.nc.close()
        finally:
            await process.stop()
