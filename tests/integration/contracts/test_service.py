"""What `nats.micro` does to a service, and `contracts.service` must not: seen from the wire."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import nats.errors
import pytest
from nats.aio.msg import Msg

from contracts import clock, subjects
from contracts.access import roles
from contracts.bus import Bus, PermissionDenied
from contracts.errors import Refused
from contracts.service import Answer, Ask, Service, raise_refusal
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer

Handler = Callable[[Ask], Awaitable[Answer]]


@pytest.fixture
async def people(server: NatsServer) -> Bus:
    return await server.connect(roles.OPERATOR, "operator")


async def serving(server: NatsServer, handler: Handler, *, limit: int = 8, queue: int = 0) -> Service:
    """A service of the Anchor's identity with one endpoint on `mmn.jobs.submit`."""
    anchor = await server.connect(roles.ANCHOR, "anchor1")
    service = Service(anchor, name="anchor", instance="anchor1", version="1.0.0", description="under test")
    await service.start()
    await service.add("submit", subjects.SUBMIT, handler, limit=limit, queue=queue)
    await anchor.settle()
    return service


async def ask(people: Bus, body: bytes = b"", *, within: float = 5.0) -> Msg:
    msg = await people.nc.request(subjects.SUBMIT, body, timeout=within)
    raise_refusal(msg.headers)
    return msg


async def discovered(people: Bus) -> bool:
    msg = await people.nc.request(subjects.service("PING", "anchor", "anchor1"), timeout=1.0)
    return bool(json.loads(msg.data)["id"] == "anchor1")


async def test_calls_run_side_by_side(server: NatsServer, people: Bus) -> None:
    async def slow(_: Ask) -> Answer:
        await asyncio.sleep(0.3)
        return b"", {}

    await serving(server, slow)
    before = clock.monotonic_ns()
    await asyncio.gather(*(ask(people) for _ in range(3)))
    # One after the other they would take 0.9 s.
    assert clock.monotonic_ns() - before < 800_000_000


async def test_what_is_over_the_limit_is_refused_at_once_and_nothing_queues_unseen(
    server: NatsServer, people: Bus
) -> None:
    release = asyncio.Event()

    async def held(_: Ask) -> Answer:
        await release.wait()
        return b"", {}

    await serving(server, held, limit=2, queue=1)
    calls = [asyncio.get_running_loop().create_task(ask(people)) for _ in range(10)]
    await eventually(lambda: sum(call.done() for call in calls) == 7)
    for call in calls:
        if call.done():
            with pytest.raises(Refused) as busy:
                await call
            assert (busy.value.code, busy.value.reason) == (429, "busy")
            assert busy.value.retry_after
    release.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert sum(call.exception() is None for call in calls) == 3


async def cancels(_: Ask) -> Answer:
    raise asyncio.CancelledError


async def awaits_what_is_cancelled(_: Ask) -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    future.cancel()
    return await future


async def cancels_itself(_: Ask) -> Answer:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)
    return b"", {}


async def raises(_: Ask) -> Answer:
    raise ValueError("of the inside")


@pytest.mark.parametrize("bad", [cancels, awaits_what_is_cancelled, cancels_itself, raises])
async def test_an_endpoint_outlives_whatever_its_handler_raises(server: NatsServer, people: Bus, bad: Handler) -> None:
    """`nats.micro` ends the subscription of a handler that raises CancelledError; `$SRV` goes on."""

    async def handler(request: Ask) -> Answer:
        return await bad(request) if request.data == b"bad" else (b"good", {})

    await serving(server, handler)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await ask(people, b"bad", within=2.0)
        assert refused.value.code in {500, 503}
        assert "of the inside" not in refused.value.message
        assert (await ask(people, b"fine")).data == b"good"


async def test_stop_finishes_what_runs_and_answers_discovery_until_the_end(server: NatsServer, people: Bus) -> None:
    running, release = asyncio.Event(), asyncio.Event()

    async def held(_: Ask) -> Answer:
        running.set()
        await release.wait()
        return b"finished", {}

    service = await serving(server, held)
    call = asyncio.get_running_loop().create_task(ask(people))
    await running.wait()
    stopping = asyncio.get_running_loop().create_task(service.stop(grace=10))

    async def closed() -> bool:
        # Whoever asks now is not served, and hears so at once.
        with pytest.raises((Refused, nats.errors.NoRespondersError)):
            await ask(people, within=0.5)
        return True

    await eventually(closed)
    assert await discovered(people)
    assert not stopping.done()
    release.set()
    assert (await call).data == b"finished"
    assert await stopping == 0
    with pytest.raises(nats.errors.NoRespondersError):
        await discovered(people)


async def test_stop_cuts_off_what_does_not_end_within_the_grace(server: NatsServer, people: Bus) -> None:
    running, cut = asyncio.Event(), asyncio.Event()

    async def endless(_: Ask) -> Answer:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        return b"", {}

    service = await serving(server, endless)
    call = asyncio.get_running_loop().create_task(ask(people, within=3.0))
    await running.wait()
    async with asyncio.timeout(3):
        assert await service.stop(grace=0.2) == 1
    assert cut.is_set()
    with pytest.raises(Refused) as refused:
        await call
    assert refused.value.code == 503


async def test_an_endpoint_that_may_not_be_subscribed_is_noticed_at_the_start(server: NatsServer) -> None:
    """Registered with `nats.micro` it looks well, and never gets a request."""
    gateway = await server.connect(roles.GATEWAY, "gateway1")
    service = Service(gateway, name="gateway", instance="gateway1", version="1.0.0", description="under test")
    await service.start()
    await service.add("submit", subjects.SUBMIT, cancels)
    with pytest.raises(PermissionDenied, match=r"mmn\.jobs\.submit"):
        await gateway.settle()
