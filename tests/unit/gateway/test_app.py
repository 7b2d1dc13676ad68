import base64
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute, WebSocketRoute

from contracts import signatures
from contracts.errors import Refused
from contracts.functions import MAX_BUNDLE_BYTES
from contracts.jobs import CancelReply, CancelRequest, JobReceipt
from gateway.app import MAX_BODY_BYTES, create_app
from gateway.security.roles import API, RIGHTS, Role
from tests.kit.authors import headers as signed
from tests.kit.authors import signature_of
from tests.kit.wheels import build_wheel
from tests.unit.gateway.plane import NOW, PASSWORD, Plane

RECEIPT = JobReceipt(job="j1", function="echo", place="any", accepted=NOW, deadline=NOW, queue_depth=1)


def routes(app: Litestar) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for route in app.routes:
        path = route.path_format.rstrip("/") or "/"
        if isinstance(route, HTTPRoute):
            found |= {(method, path) for method in route.methods if method != "OPTIONS"}
        elif isinstance(route, WebSocketRoute):
            found.add(("WEBSOCKET", path))
    return found


async def test_the_table_of_rights_names_every_route_and_no_other(plane: Plane) -> None:
    assert routes(create_app(plane.parts)) == {route for route in RIGHTS if route[0] != "TOPIC"}


GUARDED = sorted(
    (method, path) for (method, path), role in RIGHTS.items() if role and method not in {"WEBSOCKET", "TOPIC"}
)


@pytest.mark.parametrize(("method", "path"), GUARDED, ids=[f"{method} {path}" for method, path in GUARDED])
async def test_a_route_refuses_who_may_not(method: str, path: str, plane: Plane, client: httpx.AsyncClient) -> None:
    path, role = path.replace("{name}", "echo").replace("{job}", "j1").replace("{node}", "n1"), RIGHTS[method, path]
    assert role is not None
    nobody = await client.request(method, path)
    assert (nobody.status_code, nobody.json()["reason"]) == (401, "not-authenticated")
    assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
    for other in Role:
        answer = await client.request(method, path, headers=plane.headers(other))
        assert (answer.status_code == 403) == (not other.covers(role)), answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code


async def test_name_and_password_buy_a_token(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{API}/auth/token", auth=("operator", PASSWORD))
    found = answer.json()
    assert (answer.status_code, found["token_type"], found["expires_in"], found["role"]) == (
        200,
        "Bearer",
        60,
        "operator",
    )
    assert answer.headers["Cache-Control"] == "no-store"
    headers = {"Authorization": f"Bearer {found['access_token']}"}
    assert (await client.get(f"{API}/jobs", headers=headers)).status_code == 200


@pytest.mark.parametrize("auth", [("operator", "wrong password"), ("nobody", PASSWORD)], ids=["password", "name"])
async def test_a_wrong_name_and_a_wrong_password_look_the_same(
    auth: tuple[str, str], client: httpx.AsyncClient
) -> None:
    answer = await client.post(f"{API}/auth/token", auth=auth)
    assert (answer.status_code, answer.json()["detail"]) == (401, "the name or the password is wrong")


async def test_state_is_open_to_everyone(client: httpx.AsyncClient) -> None:
    found = (await client.get(f"{API}/status")).json()
    assert (found["ready"], found["connected"], found["version"]) == (True, True, "0.1.0")
    assert "/schema/openapi.json" in (await client.get("/")).text


async def test_what_is_not_there_is_a_problem_too(client: httpx.AsyncClient) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", f"{API}/jobs", 405)):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def upload(
    client: httpx.AsyncClient, headers: dict[str, str], wheel: bytes, query: dict[str, Any] | None = None
) -> httpx.Response:
    return await client.post(f"{API}/bundles", content=wheel, headers={**signed(wheel), **headers}, params=query)


async def test_an_upload_is_stored_and_then_wished_for(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.DEPLOYER)
    data = build_wheel("echo", "1.0.0")
    query: dict[str, Any] = {"workers": 3, "match": ["site=fra"], "filename": "echo-1.0.0-py3-none-any.whl"}
    first = await upload(client, headers, data, query)
    assert first.status_code == 201, first.text
    made = first.json()
    assert (made["workers"], made["match"], made["uploaded_by"]) == (3, {"site": "fra"}, "deployer")
    assert plane.network.stored == {made["digest"]: data}
    again = await upload(client, headers, data)
    assert (again.status_code, again.json()) == (200, made)
    file, line = ("echo-1.0.0-py3-none-any.whl", data), signatures.line(signature_of(data))
    for form in ({"files": {"file": file}, "data": {"signature": line}}, {"files": {"file": file, "signature": line}}):
        told = await client.post(f"{API}/bundles", headers=headers, **form)
        assert (told.status_code, told.json()) == (200, made)
    listed = (await client.get(f"{API}/bundles", headers=headers)).json()
    assert listed == [{"function": "echo", "version": "1.0.0", "digest": made["digest"], "deployed": True}]


async def test_a_version_never_changes_and_a_new_one_keeps_the_wish(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.DEPLOYER)
    await upload(client, headers, build_wheel("echo"), {"workers": 3})
    other = await upload(client, headers, build_wheel("echo", code="x = 1\n"))
    assert (other.status_code, other.json()["reason"]) == (409, "version-exists")
    assert len(plane.network.stored) == 1
    newer = await upload(client, headers, build_wheel("echo", "1.1.0"))
    assert (newer.status_code, newer.json()["workers"], len(newer.json()["versions"])) == (201, 3, 2)
    back = await upload(client, headers, build_wheel("echo"))
    assert (back.status_code, back.json()["version"], len(back.json()["versions"])) == (200, "1.0.0", 2)


async def test_a_bad_upload_says_what_is_wrong(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.DEPLOYER)
    cases: list[tuple[bytes, dict[str, str], dict[str, Any], int, str]] = [
        (b"no zip", headers, {}, 400, "not-a-zip"),
        (build_wheel("echo", requires=["nowhere>=1"]), headers, {}, 400, "missing-dependencies"),
        (build_wheel("echo"), headers, {"match": "site"}, 400, "invalid-field"),
        (build_wheel("echo"), headers, {"workers": 1000}, 400, "invalid-field"),
        (build_wheel("echo"), {**headers, "Content-Type": "text/plain"}, {}, 415, "unsupported-media-type"),
        (bytes(MAX_BUNDLE_BYTES + 1), headers, {}, 413, "too-large"),
        (bytes(MAX_BUNDLE_BYTES + MAX_BODY_BYTES), headers, {}, 413, "too-large"),
    ]
    for data, sent, query, status, reason in cases:
        answer = await upload(client, sent, data, query)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert plane.network.known == {}
    assert plane.network.stored == {}


async def test_functions_are_switched_and_scaled(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.ADMIN)
    await upload(client, headers, build_wheel("echo"))
    assert (await client.post(f"{API}/functions/echo/disable", headers=headers)).json()["enabled"] is False
    assert (await client.post(f"{API}/functions/echo/enable", headers=headers)).json()["enabled"] is True
    scaled = await client.post(f"{API}/functions/echo/scale", headers=headers, json={"workers": 5})
    assert scaled.json()["workers"] == 5
    for body in ({"workers": 65}, {"workers": "x"}, {}, {"workers": 1, "x": 2}):
        assert (await client.post(f"{API}/functions/echo/scale", headers=headers, json=body)).status_code == 400
    missing = await client.post(f"{API}/functions/other/enable", headers=headers)
    assert (missing.status_code, missing.json()["reason"]) == (404, "no-such-function")
    assert (await client.get(f"{API}/functions/echo", headers=headers)).json()["deployment"]["workers"] == 5
    assert [one["name"] for one in (await client.get(f"{API}/functions", headers=headers)).json()] == ["echo"]


async def test_a_submitted_job_is_there_at_once(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.OPERATOR)
    plane.network.answer = RECEIPT
    answer = await client.post(f"{API}/jobs", headers=headers, json={"function": "echo", "class": "batch"})
    assert (answer.status_code, answer.headers["Location"], answer.json()["job"]) == (202, f"{API}/jobs/j1", "j1")
    ((request, user),) = plane.network.submitted
    assert (request.function, request.job_class, user) == ("echo", "batch", "operator")
    found = (await client.get(f"{API}/jobs/j1?wait=0.01", headers=headers)).json()
    assert (found["job"]["state"], found["job"]["class"], found["result"]) == ("queued", "batch", None)
    assert [row["id"] for row in (await client.get(f"{API}/jobs?state=queued", headers=headers)).json()["jobs"]] == [
        "j1"
    ]
    early = await client.get(f"{API}/jobs/j1/result", headers=headers)
    assert (early.status_code, early.json()["reason"]) == (404, "no-result-yet")
    nothing = await client.get(f"{API}/jobs/j2/result", headers=headers)
    assert (nothing.status_code, nothing.json()["reason"]) == (404, "no-such-job")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"function": "echo", "nod": "n1"}, "nod"),
        ({"function": 5}, "function"),
        ({}, "function"),
        ({"function": "echo", "class": "fast"}, "class"),
        ({"function": "echo", "deadline_s": 0}, "deadline_s"),
        ([], "body"),
    ],
    ids=range(6),
)
async def test_a_malformed_job_names_the_field(
    body: object, field: str, plane: Plane, client: httpx.AsyncClient
) -> None:
    answer = await client.post(f"{API}/jobs", headers=plane.headers(Role.OPERATOR), json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
    assert plane.network.submitted == []


async def test_what_the_anchor_refuses_is_passed_on(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.OPERATOR)
    plane.network.answer = Refused(429, "queue-full", "the queue is full", retry_after=4.2)
    answer = await client.post(f"{API}/jobs", headers=headers, json={"function": "echo"})
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()["retry_after"]) == (429, "5", 4.2)
    for reason in ("client-budget", "target-budget", "shed", "too-late"):
        plane.network.answer = Refused(429, reason, f"told by {reason}", retry_after=0.25)
        answer = await client.post(f"{API}/jobs", headers=headers, json={"function": "echo"})
        told = answer.json()
        assert (answer.status_code, answer.headers["Retry-After"], told["retry_after"]) == (429, "1", 0.25)
        assert (told["reason"], told["detail"]) == (reason, f"told by {reason}")
    plane.network.answer = RuntimeError("secret detail")
    answer = await client.post(f"{API}/jobs", headers=headers, json={"function": "echo"})
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("sent", "reason"),
    [({}, ""), ({"json": {}}, ""), ({"json": {"reason": "wrong target"}}, "wrong target")],
    ids=["no body", "empty", "reason"],
)
async def test_a_job_is_cancelled_in_the_name_of_who_asks(
    sent: dict[str, Any], reason: str, plane: Plane, client: httpx.AsyncClient
) -> None:
    plane.network.answer = CancelReply(job="j1", state="ended", failure="timeout")
    answer = await client.post(f"{API}/jobs/j1/cancel", headers=plane.headers(Role.OPERATOR), **sent)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["failure"]) == ("ended", "timeout")
    assert plane.network.cancelled == [(CancelRequest(job="j1", reason=reason), "operator")]


async def test_a_cancel_that_makes_no_sense_is_refused(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.OPERATOR)
    for body, field in (({"reason": "x" * 201}, "reason"), ({"why": "x"}, "why"), ([], "body")):
        answer = await client.post(f"{API}/jobs/j1/cancel", headers=headers, json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
    assert plane.network.cancelled == []
    plane.network.answer = Refused(404, "no-such-job", "job: there is no job j1")
    answer = await client.post(f"{API}/jobs/j1/cancel", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (404, "no-such-job")


async def test_bodies_and_queries_are_bounded(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.OPERATOR)
    large = await client.post(f"{API}/jobs", headers=headers, content=b'{"function": "' + b"x" * MAX_BODY_BYTES + b'"}')
    assert (large.status_code, large.json()["reason"]) == (413, "too-large")
    for query in ("limit=0", "limit=501", "state=odd", "since=yesterday", "after=odd"):
        assert (await client.get(f"{API}/jobs?{query}", headers=headers)).status_code == 400, query
    assert (await client.get(f"{API}/jobs/j1?wait=61", headers=headers)).status_code == 400


async def test_users_are_managed_and_nobody_locks_themselves_out(plane: Plane, client: httpx.AsyncClient) -> None:
    headers = plane.headers(Role.ADMIN)
    url = f"{API}/users/eve"
    assert (await client.put(url, headers=headers, json={"role": "viewer"})).json()["field"] == "password"
    made = await client.put(url, headers=headers, json={"role": "viewer", "password": "long and unguessed"})
    assert made.json()["role"] == "viewer"
    assert "password" not in made.json()
    basic = base64.b64encode(b"eve:long and unguessed").decode()
    token = await client.post(f"{API}/auth/token", headers={"Authorization": f"Basic {basic}"})
    own = {"Authorization": f"Bearer {token.json()['access_token']}"}
    assert (await client.get(f"{API}/jobs", headers=own)).status_code == 200
    assert (await client.put(url, headers=headers, json={"role": "operator"})).json()["role"] == "operator"
    assert (await client.delete(url, headers=headers)).status_code == 204
    assert (await client.get(f"{API}/jobs", headers=own)).status_code == 401
    assert (await client.delete(url, headers=headers)).status_code == 404
    assert (await client.delete(f"{API}/users/admin", headers=headers)).status_code == 409
    assert (await client.put(f"{API}/users/admin", headers=headers, json={"role": "viewer"})).status_code == 409


async def test_the_documentation_covers_the_routes_and_loads_nothing(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    documented = {(method.upper(), path) for path, found in document["paths"].items() for method in found}
    assert documented == {
        (method, path) for method, path in RIGHTS if path.startswith(API) and method not in {"WEBSOCKET", "TOPIC"}
    }
    assert set(document["components"]["securitySchemes"]) == {"bearer", "basic"}
    assert set(document["paths"][f"{API}/bundles"]["post"]["requestBody"]["content"]) == {
        "application/octet-stream",
        "application/zip",
        "multipart/form-data",
    }
