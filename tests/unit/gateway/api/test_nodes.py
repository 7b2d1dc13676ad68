"""Nodes by the API: what is told of them, and what is asked of them."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from contracts.modules import Announcement, Health, State, Trouble, WorkerEvent
from contracts.nodes import DrainRequest, RestartRequest
from gateway.security.roles import API, Role
from tests.kit.authors import headers
from tests.kit.wheels import build_wheel
from tests.unit.gateway.plane import NOW, Plane

LOOP = Trouble(function="echo", version="1.0.0", reason="crash loop: 5 lives", given_up=True, since=NOW)


@pytest.fixture
async def client(plane: Plane) -> AsyncGenerator[httpx.AsyncClient]:
    async with plane.client(Role.DEPLOYER) as client:
        yield client


def runtime(plane: Plane, node: str, *troubles: Trouble, state: State = "up") -> None:
    beat = Health(
        instance=node,
        kind="runtime",
        state=state,
        at=NOW,
        node=node,
        version="0.1.0",
        labels={"site": "lab"},
        troubles=list(troubles),
    )
    plane.network.registry.beat(node, beat, 0)
    plane.network.nodes.add(node)


def worker(plane: Plane, node: str, suffix: str, event: WorkerEvent = "ready") -> str:
    instance = f"{node}_{suffix}"
    news = Announcement(node=node, instance=instance, function="echo", version="1.0.0", digest="d", event=event, at=NOW)
    plane.network.registry.announced(node, news, 0)
    return instance


async def deploy(client: httpx.AsyncClient) -> None:
    wheel = build_wheel("echo")
    assert (await client.post(f"{API}/bundles", content=wheel, headers=headers(wheel))).status_code == 201


async def test_nodes_are_told_with_their_workers_and_troubles(plane: Plane, client: httpx.AsyncClient) -> None:
    runtime(plane, "n1")
    runtime(plane, "n2", LOOP, state="draining")
    worker(plane, "n1", "a")
    worker(plane, "n1", "b", "draining")
    worker(plane, "n1", "c", "stopped")
    first, second = (await client.get(f"{API}/nodes")).json()
    assert (first["node"], first["state"], first["version"], first["labels"]) == ("n1", "up", "0.1.0", {"site": "lab"})
    assert (first["workers"], first["troubles"]) == ({"echo": 2}, [])
    assert (second["state"], second["workers"], second["troubles"][0]["reason"]) == ("draining", {}, LOOP.reason)


async def test_a_function_is_told_with_what_keeps_it_from_running(plane: Plane, client: httpx.AsyncClient) -> None:
    await deploy(client)
    runtime(plane, "n1")
    runtime(plane, "n2", LOOP)
    problem = {"node": "n2", "version": "1.0.0", "reason": LOOP.reason, "given_up": True}
    (listed,) = (await client.get(f"{API}/functions")).json()
    assert listed["problems"] == [problem]
    assert (await client.get(f"{API}/functions/echo")).json()["problems"] == [problem]


async def test_a_node_is_drained_resumed_and_restarted(plane: Plane, client: httpx.AsyncClient) -> None:
    runtime(plane, "n1")
    for path, body in (("drain", None), ("drain", {"on": False}), ("restart", None), ("restart", {"function": "echo"})):
        answer = (
            await client.post(f"{API}/nodes/n1/{path}", json=body)
            if body
            else await client.post(f"{API}/nodes/n1/{path}")
        )
        assert (answer.status_code, answer.json()["node"]) == (200, "n1"), answer.text
    assert plane.network.asked == [
        ("n1", "drain", DrainRequest(on=True)),
        ("n1", "drain", DrainRequest(on=False)),
        ("n1", "restart", RestartRequest()),
        ("n1", "restart", RestartRequest(function="echo")),
    ]
    assert (await client.post(f"{API}/nodes/n9/drain")).json()["reason"] == "no-such-node"
    assert (await client.post(f"{API}/nodes/n1/drain", json={"off": True})).json()["field"] == "off"
    assert (await client.post(f"{API}/nodes/N1/drain")).status_code == 400


async def test_a_restart_asks_every_node_that_should_run_it_and_tells_who_did_not_hear(
    plane: Plane, client: httpx.AsyncClient
) -> None:
    await deploy(client)
    for node in ("n1", "n2", "n3"):
        runtime(plane, node, state="draining" if node == "n3" else "up")
    old = worker(plane, "n1", "a")
    plane.network.nodes.discard("n2")
    first, second = (await client.post(f"{API}/functions/echo/restart")).json()
    assert first == {"node": "n1", "before": [old], "refused": None}
    assert second["refused"] == "node: no runtime answers for n2"
    await client.post(f"{API}/functions/echo/disable")
    assert (await client.post(f"{API}/functions/echo/restart")).json()["reason"] == "disabled"
    assert (await client.post(f"{API}/functions/other/restart")).status_code == 404


async def test_a_function_is_deleted_once(plane: Plane, client: httpx.AsyncClient) -> None:
    await deploy(client)
    assert (await client.delete(f"{API}/functions/echo", headers=plane.headers(Role.OPERATOR))).status_code == 403
    assert (await client.delete(f"{API}/functions/echo")).status_code == 204
    assert plane.network.known == {}
    assert (await client.delete(f"{API}/functions/echo")).json()["reason"] == "no-such-function"
