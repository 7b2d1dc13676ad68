"""A connection is replaced by a new one while it is in use: nobody notices."""

import asyncio

import nats.errors
import pytest

from contracts import bus, subjects
from contracts.access import roles, tokens
from contracts.bus import Bus, CannotConnect
from contracts.service import Answer, Ask, Service
from tests.kit.nats_server import NatsServer

HERE = f"{subjects.manage_inbox('answers')}.slow"


async def served(connection: Bus) -> Service:
    service = Service(connection, name="gateway", instance="answers", version="1.0.0", description="answers late")

    async def late(ask: Ask) -> Answer:
        await asyncio.sleep(0.05)
        return ask.data, {}

    await service.start()
    await service.add("slow", HERE, late, limit=64)
    await connection.settle()
    return service


async def test_neither_who_asks_nor_who_answers_loses_a_question_when_connections_are_replaced(
    server: NatsServer,
) -> None:
    asks, answers = await server.connect(roles.ANCHOR, "asks"), await server.connect(roles.GATEWAY, "answers")
    service, old = await served(answers), answers.nc
    renewed = asyncio.Event()

    async def ask(number: int) -> None:
        while not renewed.is_set():
            told = await asks.request(HERE, str(number).encode(), within=5)
            assert told.data == str(number).encode()

    async with asyncio.TaskGroup() as tasks:
        for number in range(16):
            tasks.create_task(ask(number))
        for _ in range(5):
            # The inbox for answers is opened while the first of these is under way.
            await asyncio.gather(asks.renew(), answers.renew())
        renewed.set()
    assert old.is_closed, "what it replaced is not kept"
    assert not answers.closed.is_set()
    assert (asks.reconnects, answers.reconnects, list(asks.denied), list(answers.denied)) == (0, 0, [], [])
    await service.stop()
    with pytest.raises(nats.errors.NoRespondersError):
        await asks.request(HERE, within=5)


async def test_a_renewal_that_is_refused_leaves_everything_as_it_was(server: NatsServer) -> None:
    asks = await server.connect(roles.ANCHOR, "asks")
    user, files = tokens.new_user_key(), server.files
    account, signer = files.account_key("MANAGE"), files.signers[roles.GATEWAY.name]
    good = tokens.user(tokens.public(user), signer, account_key=account, name="answers")
    key = bus.KeyCredentials(good, user)
    answers = await bus.connect(server.url, key, identity="answers", inbox=subjects.manage_inbox("answers"))
    service = await served(answers)
    key.token = good[:-4] + "AAAA"
    with pytest.raises(CannotConnect):
        await answers.renew()
    assert (await asks.request(HERE, b"still", within=5)).data == b"still"
    key.token = good
    await answers.renew()
    assert (await asks.request(HERE, b"again", within=5)).data == b"again"
    await service.stop()
    await answers.drain()
