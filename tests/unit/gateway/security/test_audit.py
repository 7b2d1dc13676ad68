"""Who did what is kept, and nothing else is."""

import base64
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient
from structlog.testing import capture_logs

from contracts.audit import AuditEntry
from contracts.jobs import JobReceipt
from gateway.app import create_app
from gateway.security import audit as module
from gateway.security.audit import Allowance, Audit, Note, kind_of
from gateway.security.roles import API, Role
from tests.unit.gateway.plane import NOW, PASSWORD, Plane

SECRET = "hunter2-and-a-half"
S = 1_000_000_000


@pytest.fixture
async def client(plane: Plane) -> AsyncGenerator[httpx.AsyncClient]:
    async with plane.client(address=("192.0.2.7", 5)) as client:
        yield client


def said(entry: AuditEntry) -> tuple[Any, ...]:
    return entry.kind, entry.user, entry.role, entry.action, entry.object, entry.detail, entry.status, entry.reason


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


async def test_an_act_is_kept_with_who_did_it_and_how_it_ended(plane: Plane, client: httpx.AsyncClient) -> None:
    plane.network.answer = JobReceipt(job="j1", function="echo", place="any", accepted=NOW, deadline=NOW, queue_depth=1)
    plane.network.nodes.add("n1")
    admin, operator = plane.headers(Role.ADMIN), plane.headers(Role.OPERATOR)
    wish = {"role": "operator", "password": SECRET}
    await client.put(f"{API}/users/ada", json=wish, headers=admin)
    await client.put(f"{API}/users/ada", json={"role": "viewer"}, headers=admin)
    await client.post(f"{API}/functions/none/scale", json={"workers": 3}, headers=operator)
    await client.post(f"{API}/nodes/n1/drain", json={"on": False}, headers=operator)
    await client.post(f"{API}/jobs", json={"function": "echo", "params": {"text": SECRET}}, headers=operator)
    await client.delete(f"{API}/users/ada", headers=admin)
    assert [said(entry) for entry in plane.network.entries] == [
        ("change", "admin", "admin", "put_user", "ada", "role operator, new password", 200, ""),
        ("change", "admin", "admin", "put_user", "ada", "role viewer", 200, ""),
        ("change", "operator", "operator", "scale", "none", "workers=3", 404, "no-such-function"),
        ("change", "operator", "operator", "drain", "n1", "off", 200, ""),
        ("job", "operator", "operator", "submit", "j1", "echo", 202, ""),
        ("change", "admin", "admin", "delete_user", "ada", "", 204, ""),
    ]
    assert {entry.address for entry in plane.network.entries} == {"192.0.2.7"}
    assert SECRET not in str(plane.network.entries)


async def test_who_only_looks_leaves_no_trace(plane: Plane, client: httpx.AsyncClient) -> None:
    for path in ("/functions", "/users", "/jobs", "/audit", "/status"):
        assert (await client.get(API + path, headers=plane.headers(Role.ADMIN))).status_code == 200
    assert (await client.get("/nowhere")).status_code == 404
    assert plane.network.entries == []


async def test_logins_are_kept_and_a_password_in_the_wrong_field_is_not(
    plane: Plane, client: httpx.AsyncClient
) -> None:
    token = f"{API}/auth/token"
    told = (await client.post(token, headers=basic("viewer", PASSWORD))).json()
    await client.post(token, headers=basic("viewer", SECRET))
    await client.post(token, headers=basic(SECRET, "x"))
    await client.post(token)
    await client.post(f"{API}/auth/refresh", json={"refresh_token": told["refresh_token"]})
    await client.post(f"{API}/auth/refresh", json={"refresh_token": SECRET})
    await client.post(f"{API}/auth/revoke", json={}, headers={"Authorization": f"Bearer {told['access_token']}"})
    assert [said(entry) for entry in plane.network.entries] == [
        ("login", "viewer", None, "token", "", "", 200, ""),
        ("refused", "viewer", None, "token", "", "", 401, "wrong-credentials"),
        ("refused", None, None, "token", "", "", 401, "wrong-credentials"),
        ("refused", None, None, "token", "", "", 401, "not-authenticated"),
        ("refused", None, None, "refresh", "", "", 401, "refresh-invalid"),
        ("login", "viewer", "viewer", "revoke", "", "", 204, ""),
    ]
    assert SECRET not in str(plane.network.entries)


async def test_a_login_that_has_to_wait_is_kept_too(plane: Plane, client: httpx.AsyncClient) -> None:
    for _ in range(7):
        await client.post(f"{API}/auth/token", headers=basic("viewer", "wrong"))
    assert plane.network.entries[-1].reason == "too-many-failures"


async def test_who_is_not_let_do_it_is_kept_by_name(plane: Plane, client: httpx.AsyncClient) -> None:
    await client.get(f"{API}/users", headers=plane.headers(Role.OPERATOR))
    await client.post(f"{API}/functions/echo/scale", json={"workers": 1}, headers=plane.headers(Role.VIEWER))
    await client.get(f"{API}/jobs", headers={"Authorization": f"Bearer {SECRET}"})
    assert [said(entry) for entry in plane.network.entries] == [
        ("refused", "operator", "operator", "users", "", "", 403, "forbidden"),
        ("refused", "viewer", "viewer", "scale", "echo", "", 403, "forbidden"),
        ("refused", None, None, "jobs", "", "", 401, "token-invalid"),
    ]


def test_who_is_not_let_listen_is_kept(plane: Plane) -> None:
    with TestClient(create_app(plane.parts)) as client:
        for protocols, topic in (
            (["mmn.v1", f"bearer.{plane.token(Role.VIEWER)}"], "logs"),
            (["mmn.v1", "bearer.nonsense"], "events"),
        ):
            with client.websocket_connect(f"{API}/feed", subprotocols=protocols) as socket:
                socket.send_json({"type": "subscribe", "topics": [topic]})
                with pytest.raises(WebSocketDisconnect):  # noqa: PT012  # whichever of the messages is the last
                    while True:
                        socket.receive_text()
    assert [said(entry) for entry in plane.network.entries] == [
        ("refused", "viewer", "viewer", "feed", "", "", 403, "forbidden"),
        ("refused", None, None, "feed", "", "", 401, "token-invalid"),
    ]


async def test_an_entry_that_cannot_be_stored_keeps_nobody_from_working(
    plane: Plane, client: httpx.AsyncClient
) -> None:
    plane.network.audit_fails = True
    plane.network.nodes.add("n1")
    with capture_logs() as lines:
        told = await client.post(f"{API}/nodes/n1/drain", headers=plane.headers(Role.OPERATOR))
    assert told.status_code == 200
    assert [(line["event"], line["entry"]["object"]) for line in lines] == [("audit entry not stored", "n1")]


async def test_a_flood_of_strangers_is_counted_and_crowds_out_no_user(plane: Plane) -> None:
    audit = Audit(plane.parts.network, "gateway1")
    for _ in range(module.REFUSALS_AT_ONCE + 1000):
        await audit.record("refused", "jobs", status=401, told=Note(reason="not-authenticated"))
    kept = len(plane.network.entries)
    assert kept < module.REFUSALS_AT_ONCE + 500
    await audit.record("refused", "users", status=403, told=Note(user="ada", reason="forbidden"))
    assert plane.network.entries[-1].user == "ada"
    assert len(plane.network.entries) == kept + 1


def test_what_was_left_out_is_told_with_the_next() -> None:
    allowance = Allowance()
    passed = [allowance.take(1) for _ in range(module.REFUSALS_AT_ONCE + 7)]
    assert passed.count(None) == 7
    assert allowance.take(1 + S) == 7
    assert allowance.take(1 + S) == 0


async def test_a_name_is_one_line_of_bounded_length(plane: Plane) -> None:
    note = Note(object="x" * 5000, detail="a\nb https://u:geheim@h/ \x1b[31m")
    await plane.parts.audit.record("change", "x", status=200, told=note)
    entry = plane.network.entries[0]
    assert len(entry.object) <= 256
    assert entry.detail.startswith("a?b https://")
    assert "geheim" not in entry.detail
    assert entry.detail.isprintable()


def test_what_is_kept() -> None:
    assert kind_of("scale", "POST", 200, "") == "change"
    assert kind_of("scale", "POST", 503, "unavailable") == "change"
    assert kind_of("submit", "POST", 429, "busy") is None
    assert kind_of("join_network", "POST", 200, "") == "change"
    assert kind_of("join_network", "POST", 400, "invalid-field") == "refused"
    assert kind_of("cancel", "POST", 200, "") == "job"
    assert kind_of("jobs", "GET", 200, "") is None
    assert kind_of("jobs", "GET", 403, "forbidden") == "refused"
    assert kind_of("refresh", "POST", 200, "") is None
