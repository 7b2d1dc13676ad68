"""Answers that take longer than an export's response threshold are dropped by the server, without a word."""

import asyncio
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg

from contracts.access import provision, roles
from contracts.functions import Limits
from tests.integration.contracts.conftest import WorkerIdentity
from tests.kit.nats_server import NatsServer, nats_server

JOB_S = 2.0
SHORT_NS = 500_000_000
SUBJECT = "mmn.fn.echo.n1_me"


async def called(server: NatsServer) -> bytes:
    """One call from MANAGE of a worker that takes `JOB_S` to answer."""
    identity = WorkerIdentity(server)
    identity.renew(600)
    worker, anchor = await identity.connect(server.url), await server.connect(roles.ANCHOR, "anchor1")

    async def slow(msg: Msg) -> None:
        await asyncio.sleep(JOB_S)
        await msg.respond(b"done")

    try:
        await worker.subscribe(SUBJECT, slow)
        await worker.settle()
        return (await anchor.nc.request(SUBJECT, b"", timeout=JOB_S + 1.5)).data
    finally:
        await worker.drain()


async def test_an_answer_after_the_threshold_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short() -> list[dict[str, Any]]:
        return [item | ({"response_threshold": SHORT_NS} if item["name"] == "calls" else {}) for item in shipped]

    shipped = provision.measure_exports()
    monkeypatch.setattr(provision, "measure_exports", short)
    async with nats_server(tmp_path) as server:
        with pytest.raises(nats.errors.TimeoutError):
            await called(server)


async def test_the_same_answer_arrives_with_the_threshold_as_shipped(server: NatsServer) -> None:
    assert await called(server) == b"done"


def test_the_threshold_covers_the_wait_for_a_slot_the_longest_job_and_a_minute() -> None:
    calls = next(item for item in provision.measure_exports() if item["name"] == "calls")
    assert calls["response_threshold"] == (600 + 600 + 60) * 1_000_000_000
    Limits(timeout=600.0)
    assert roles.LONGEST_JOB_S == 600.0
    responses = roles.worker("n1").responses
    assert responses is not None
    assert responses.ttl_ns >= calls["response_threshold"], "the worker's own right to answer must last as long"
