"""Uploads that replace a running version, and what people may say about them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts import clock
from contracts.evidence import CallCounts, Evidence
from contracts.modules import Health
from gateway.security.roles import API, Role
from tests.kit.authors import headers
from tests.kit.wheels import build_wheel
from tests.unit.gateway.plane import Plane


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[httpx.AsyncClient]:
    async with plane.client(Role.DEPLOYER) as client:
        yield client


async def upload(client: httpx.AsyncClient, version: str, **query: Any) -> dict[str, Any]:
    wheel = build_wheel("echo", version)
    told = await client.post(f"{API}/bundles", content=wheel, headers=headers(wheel), params=query)
    assert told.status_code < 300, told.text
    made: dict[str, Any] = told.json()
    return made


async def act(client: httpx.AsyncClient, what: str, **query: str) -> httpx.Response:
    return await client.post(f"{API}/functions/echo/{what}", params=query)


def story(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["version"], step["what"]) for step in told["history"]]


async def test_a_new_version_of_what_runs_begins_a_rollout(client: httpx.AsyncClient) -> None:
    await upload(client, "1.0.0")
    made = await upload(client, "1.1.0", steps=[0.2, 1.0], hold=30)
    assert made["version"] == "1.0.0"
    rollout = made["rollout"]
    assert (rollout["version"], rollout["weight"], rollout["uploaded_by"]) == ("1.1.0", 0.0, "deployer")
    assert rollout["strategy"] == {"steps": [0.2, 1.0], "hold_s": 30.0, "paired": False}
    assert story(made) == [("1.0.0", "promoted"), ("1.1.0", "started")]
    assert (await upload(client, "1.1.0"))["rollout"] == rollout


async def test_without_anything_running_or_at_once_there_is_no_rollout(client: httpx.AsyncClient) -> None:
    assert (await upload(client, "1.0.0"))["history"][-1]["reason"] == "the first version"
    made = await upload(client, "1.1.0", at_once=True)
    assert (made["version"], made["previous"], made["rollout"]) == ("1.1.0", "1.0.0", None)
    await act(client, "disable")
    made = await upload(client, "1.2.0")
    assert (made["version"], made["history"][-1]["reason"]) == ("1.2.0", "nothing was running")
    assert (await upload(client, "1.3.0", enabled=True))["rollout"] is None


async def test_a_newer_upload_supersedes_and_the_old_version_ends_a_rollout(client: httpx.AsyncClient) -> None:
    await upload(client, "1.0.0")
    await upload(client, "1.1.0")
    made = await upload(client, "1.2.0")
    assert made["rollout"]["version"] == "1.2.0"
    assert story(made)[-2:] == [("1.1.0", "superseded"), ("1.2.0", "started")]
    back = await upload(client, "1.0.0")
    assert (back["version"], back["rollout"]) == ("1.0.0", None)
    assert back["history"][-1]["reason"] == "1.0.0 was uploaded again"
    await upload(client, "1.1.0")
    made = await upload(client, "1.3.0", at_once=True)
    assert (made["version"], made["previous"], story(made)[-2:]) == (
        "1.3.0",
        "1.0.0",
        [("1.1.0", "superseded"), ("1.3.0", "promoted")],
    )


async def test_a_rollout_is_ended_by_request(client: httpx.AsyncClient) -> None:
    await upload(client, "1.0.0")
    for what in ("promote", "rollback"):
        told = await act(client, what)
        assert (told.status_code, told.json()["reason"]) == (
            409,
            {"promote": "no-rollout", "rollback": "no-earlier-version"}[what],
        )
    await upload(client, "1.1.0")
    told = (await act(client, "rollback")).json()
    assert (told["version"], told["rollout"], story(told)[-1]) == ("1.0.0", None, ("1.1.0", "rolled-back"))
    assert (told["history"][-1]["by"], told["history"][-1]["reason"]) == ("deployer", "by request")
    await upload(client, "1.1.0")
    told = (await act(client, "promote")).json()
    assert (told["version"], told["previous"], story(told)[-1]) == ("1.1.0", "1.0.0", ("1.1.0", "promoted"))


async def test_going_back_takes_the_version_before_or_the_one_that_is_named(client: httpx.AsyncClient) -> None:
    first = await upload(client, "1.0.0")
    for version in ("1.1.0", "1.2.0"):
        await upload(client, version, at_once=True)
    told = (await act(client, "rollback")).json()
    assert (told["version"], told["previous"]) == ("1.1.0", "1.2.0")
    assert story(told)[-2:] == [("1.2.0", "rolled-back"), ("1.1.0", "promoted")]
    told = (await act(client, "rollback", to="1.0.0")).json()
    assert (told["version"], told["digest"], told["manifest"]) == ("1.0.0", first["digest"], first["manifest"])
    for version, status, reason in (("9.0.0", 404, "no-such-version"), ("1.0.0", 409, "deployed-already")):
        answer = await act(client, "rollback", to=version)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)


async def test_going_back_to_an_older_version_ends_a_rollout_too(client: httpx.AsyncClient) -> None:
    await upload(client, "1.0.0")
    await upload(client, "1.1.0", at_once=True)
    await upload(client, "1.2.0")
    told = (await act(client, "rollback", to="1.0.0")).json()
    assert (told["version"], told["rollout"]) == ("1.0.0", None)
    assert ("1.2.0", "superseded") in story(told)


async def test_only_deployers_end_rollouts(plane: Plane, client: httpx.AsyncClient) -> None:
    await upload(client, "1.0.0")
    await upload(client, "1.1.0")
    for what in ("promote", "rollback"):
        told = await client.post(f"{API}/functions/echo/{what}", headers=plane.headers(Role.OPERATOR))
        assert told.status_code == 403


@pytest.mark.parametrize(
    "query",
    [{"steps": 0}, {"steps": 1.5}, {"steps": [0.5, 0.1]}, {"steps": "nan"}, {"steps": [0.01] * 17}, {"hold": -1}],
    ids=str,
)
async def test_a_strategy_that_makes_no_sense_is_refused(query: dict[str, Any], client: httpx.AsyncClient) -> None:
    wheel = build_wheel("echo")
    told = await client.post(f"{API}/bundles", content=wheel, headers=headers(wheel), params=query)
    assert (told.status_code, told.json()["field"]) == (400, next(iter(query))), told.text


async def test_people_see_what_all_anchors_counted(plane: Plane, client: httpx.AsyncClient) -> None:
    await upload(client, "1.0.0")
    assert (await client.get(f"{API}/functions/echo")).json()["comparison"] is None
    rollout = (await upload(client, "1.1.0", paired=True))["rollout"]
    assert rollout["strategy"] == {"steps": [1.0], "hold_s": 10.0, "paired": True}
    for anchor in ("anchor1", "anchor2"):
        seen = Evidence(
            rollout=rollout["id"], function="echo", source=anchor, new=CallCounts(calls=5, faults=1, wait={80: 5})
        )
        health = Health(instance=anchor, kind="anchor", state="up", at=clock.utc_now(), rollouts=[seen])
        plane.network.registry.beat(anchor, health, 0)
    detail = (await client.get(f"{API}/functions/echo")).json()["comparison"]
    assert (detail["new"]["version"], detail["new"]["calls"], detail["new"]["faults"]) == ("1.1.0", 10, 2)
    assert (detail["old"]["version"], detail["old"]["wait_p90_ns"], detail["pairs"]["seen"]) == ("1.0.0", None, 0)
    assert (await client.get(f"{API}/functions")).json()[0]["comparison"] == detail
