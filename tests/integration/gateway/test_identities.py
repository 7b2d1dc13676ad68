"""Users and logins of two gateways that share a network: what one changes, the other obeys at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from contracts import clock
from contracts.access import roles
from contracts.errors import Refused
from gateway.network import Network
from gateway.security.identities import User, new_epoch
from gateway.security.roles import Role
from gateway.security.sessions import Sessions
from gateway.security.tokens import Tokens
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer, nats_server

TOKENS = Tokens(b"k" * 32, lifetime_s=900)


class Gateway:
    """The part of a gateway that knows people."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.sessions = Sessions(network, TOKENS, idle_s=3600)

    def admits(self, token: str) -> bool:
        return self.sessions.role(TOKENS.read(token)) is not None


@asynccontextmanager
async def gateway(server: NatsServer, name: str) -> AsyncGenerator[Gateway]:
    connection = await server.connect(roles.GATEWAY, name)
    network = Network(connection)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(network.run())
        assert await network.until_ready(within=10)
        yield Gateway(network)
        running.cancel()
    await connection.drain()


@pytest.fixture
async def two(tmp_path: Path) -> AsyncGenerator[tuple[Gateway, Gateway]]:
    async with nats_server(tmp_path) as server, gateway(server, "gateway1") as one, gateway(server, "gateway2") as two:
        for name in ("ann", "bob"):
            made = User(name=name, role=Role.ADMIN, password="x", created=clock.utc_now(), epoch=new_epoch())
            await make(one, made)
        await eventually(lambda: len(two.network.users()) == 2, within=5)
        yield one, two


async def make(found: Gateway, user: User) -> None:
    await found.network.change_user(user.name, lambda _: user)


def known(found: Gateway, name: str) -> User:
    user = found.network.user(name)
    assert user is not None
    return user


async def test_what_one_gateway_cuts_the_other_refuses_within_a_second(two: tuple[Gateway, Gateway]) -> None:
    here, there = two
    first, second = [await there.sessions.begin(known(there, "ann")) for _ in range(2)]
    assert here.admits(first.access)
    assert there.admits(first.access)
    with there.network.bell.listening() as changed:
        await here.sessions.end(first.refresh.partition(".")[0])
        await asyncio.wait_for(changed.wait(), 1)
    await eventually(lambda: not there.admits(first.access), within=1)
    assert there.admits(second.access)
    await here.sessions.end_all("ann")
    await eventually(lambda: not there.admits(second.access), within=1)
    with pytest.raises(Refused):
        await there.sessions.renew(second.refresh)


async def test_a_refresh_token_counts_once_over_all_gateways(two: tuple[Gateway, Gateway]) -> None:
    here, there = two
    login = await here.sessions.begin(known(here, "ann"))
    answers = await asyncio.gather(
        *(one.sessions.renew(login.refresh) for one in (here, there, here, there)), return_exceptions=True
    )
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert {type(answer) for answer in answers} <= {Refused, type(login)}
    await eventually(lambda: not here.admits(login.access) and not there.admits(login.access), within=1)


async def test_two_admins_who_depose_each_other_at_once_leave_one(two: tuple[Gateway, Gateway]) -> None:
    here, there = two

    def depose(found: Gateway, name: str) -> asyncio.Task[object]:
        def change(before: User | None) -> User:
            assert before is not None
            if not any(other.role is Role.ADMIN for other in found.network.users() if other.name != name):
                raise Refused(409, "last-admin", "x")
            return msgspec.structs.replace(before, role=Role.VIEWER)

        return asyncio.create_task(found.network.change_user(name, change))

    ended = await asyncio.gather(depose(here, "bob"), depose(there, "ann"), return_exceptions=True)
    assert sum(isinstance(one, Refused) for one in ended) == 1, ended
    await eventually(lambda: here.network.users() == there.network.users(), within=5)
    assert [user.role for user in here.network.users()].count(Role.ADMIN) == 1


async def test_the_oldest_login_makes_room_for_the_newest(
    two: tuple[Gateway, Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = two
    monkeypatch.setattr("gateway.security.sessions.PER_USER", 2)
    logins = [await here.sessions.begin(known(here, "ann")) for _ in range(3)]
    assert [here.admits(one.access) for one in logins].count(True) == 2
    assert here.admits(logins[-1].access)
