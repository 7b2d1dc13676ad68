"""Logging in, staying in, being cut off: through the application, as a client sees it."""

from typing import Any

import httpx
import msgspec
import pytest

from contracts import clock
from gateway.security.roles import API, Role
from gateway.security.throttle import BY_USER
from tests.unit.gateway.plane import PASSWORD, Plane

COOKIE = {"Mmn-Session": "cookie"}


async def log_in(client: httpx.AsyncClient, user: str = "operator", **headers: str) -> dict[str, Any]:
    answer = await client.post(f"{API}/auth/token", auth=(user, PASSWORD), headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def renew(client: httpx.AsyncClient, refresh: str | None, **headers: str) -> httpx.Response:
    return await client.post(f"{API}/auth/refresh", json={"refresh_token": refresh}, headers=headers)


async def admits(client: httpx.AsyncClient, told: dict[str, Any]) -> bool:
    answer = await client.get(f"{API}/jobs", headers={"Authorization": f"Bearer {told['access_token']}"})
    assert answer.status_code in {200, 401}
    return answer.status_code == 200


async def test_a_refresh_token_buys_the_next_pair(client: httpx.AsyncClient) -> None:
    first = await log_in(client)
    second = (await renew(client, first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (second["user"], second["role"]) == ("operator", "operator")
    assert await admits(client, second)
    assert (await renew(client, second["refresh_token"])).status_code == 200


async def test_a_refresh_token_that_is_used_twice_ends_the_login_for_both(client: httpx.AsyncClient) -> None:
    other, first = await log_in(client), await log_in(client)
    second = (await renew(client, first["refresh_token"])).json()
    stolen = await renew(client, first["refresh_token"])
    assert (stolen.status_code, stolen.json()["reason"]) == (401, "refresh-reused")
    assert (await renew(client, second["refresh_token"])).status_code == 401
    assert not await admits(client, second)
    assert await admits(client, other)


@pytest.mark.parametrize("shown", [None, "", "x", "0" * 32 + "." + "x" * 43, "*" * 32 + "." + "x" * 43, "a.b" * 4000])
async def test_what_is_no_refresh_token_is_refused(shown: str | None, client: httpx.AsyncClient) -> None:
    answer = await renew(client, shown)
    assert (answer.status_code, answer.json()["reason"]) == (401, "refresh-invalid")


async def test_nothing_that_is_kept_gives_a_token_away(plane: Plane, client: httpx.AsyncClient) -> None:
    told = await log_in(client)
    (kept,) = plane.network.logins.values()
    assert told["refresh_token"].split(".")[1] not in msgspec.json.encode(kept).decode()


async def test_a_login_that_nobody_used_is_over(plane: Plane, client: httpx.AsyncClient) -> None:
    told = await log_in(client)
    ((key, kept),) = plane.network.logins.items()
    plane.network.logins[key] = msgspec.structs.replace(kept, expires=clock.wall_ns() // 10**9 - 1)
    assert (await renew(client, told["refresh_token"])).status_code == 401


async def test_no_login_lasts_for_ever(plane: Plane, client: httpx.AsyncClient) -> None:
    told = await log_in(client)
    ((key, kept),) = plane.network.logins.items()
    plane.network.logins[key] = msgspec.structs.replace(kept, created=kept.created - 30 * 86400 + 100)
    assert (await renew(client, told["refresh_token"])).json()["refresh_expires_in"] <= 100


async def test_logging_out_ends_this_login_or_all(client: httpx.AsyncClient) -> None:
    here, there = await log_in(client), await log_in(client)
    own = {"Authorization": f"Bearer {here['access_token']}"}
    assert (await client.post(f"{API}/auth/revoke", json={}, headers=own)).status_code == 204
    assert not await admits(client, here)
    assert (await renew(client, here["refresh_token"])).status_code == 401
    assert await admits(client, there)
    own = {"Authorization": f"Bearer {there['access_token']}"}
    third = await log_in(client)
    assert (await client.post(f"{API}/auth/revoke", json={"everywhere": True}, headers=own)).status_code == 204
    assert not await admits(client, there)
    assert not await admits(client, third)
    assert await admits(client, await log_in(client))


@pytest.mark.parametrize(
    "change",
    [{"role": "viewer"}, {"password": "another long one"}, None, "delete"],
    ids=["role", "password", "revoke", "delete"],
)
async def test_what_an_admin_changes_cuts_every_token(change: Any, plane: Plane, client: httpx.AsyncClient) -> None:
    told, admin, url = await log_in(client), plane.headers(Role.ADMIN), f"{API}/users/operator"
    same = await client.put(url, json={"role": "operator"}, headers=admin)
    assert (same.status_code, same.json()["logins"]) == (200, 1)
    assert await admits(client, told)
    if change == "delete":
        await client.delete(url, headers=admin)
    elif change is None:
        assert (await client.post(f"{url}/revoke", headers=admin)).status_code == 204
    else:
        assert (await client.put(url, json=change, headers=admin)).json()["logins"] == 0
    assert not await admits(client, told)
    assert (await renew(client, told["refresh_token"])).status_code == 401


async def test_a_user_made_anew_is_not_the_one_before(plane: Plane, client: httpx.AsyncClient) -> None:
    told, admin, url = await log_in(client), plane.headers(Role.ADMIN), f"{API}/users/operator"
    await client.delete(url, headers=admin)
    assert (await client.put(url, json={"role": "admin", "password": PASSWORD}, headers=admin)).status_code == 200
    assert not await admits(client, told)


async def test_the_own_password_is_changed_by_showing_the_present_one(client: httpx.AsyncClient) -> None:
    told = await log_in(client)
    own = {"Authorization": f"Bearer {told['access_token']}"}
    wrong = await client.post(f"{API}/auth/password", json={"current": "x", "new": "a long new one"}, headers=own)
    assert (wrong.status_code, wrong.json()["reason"]) == (401, "wrong-credentials")
    weak = await client.post(f"{API}/auth/password", json={"current": PASSWORD, "new": "x"}, headers=own)
    assert (weak.status_code, weak.json()["field"]) == (400, "password")
    done = await client.post(f"{API}/auth/password", json={"current": PASSWORD, "new": "a long new one"}, headers=own)
    assert done.status_code == 204
    assert not await admits(client, told)
    assert (await client.post(f"{API}/auth/token", auth=("operator", "a long new one"))).status_code == 200


async def test_the_last_admin_stays(plane: Plane, client: httpx.AsyncClient) -> None:
    second = plane.network.people["admin"]
    plane.network.people["second"] = msgspec.structs.replace(second, name="second", role=Role.ADMIN)
    admin = plane.headers(Role.ADMIN)
    own = {"Authorization": f"Bearer {plane.parts.tokens.issue('second', Role.ADMIN, epoch='', sid='')}"}
    assert (await client.put(f"{API}/users/admin", json={"role": "viewer"}, headers=own)).status_code == 200
    # The one that was demoted is no admin any more, and the other cannot leave.
    assert (await client.delete(f"{API}/users/second", headers=admin)).status_code == 401
    assert (await client.delete(f"{API}/users/second", headers=own)).status_code == 409
    assert plane.network.people["second"].role is Role.ADMIN


async def test_the_page_s_refresh_token_is_in_a_cookie_that_no_script_reads(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{API}/auth/token", auth=("operator", PASSWORD), headers=COOKIE)
    assert answer.json()["refresh_token"] is None
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("mmn-refresh-")
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/api/v1/auth", "Max-Age="):
        assert attribute in cookie
    assert (await renew(client, None)).status_code == 401, "another origin could send the cookie, but not the header"
    assert (await client.post(f"{API}/auth/refresh", json={}, headers=COOKIE)).status_code == 200
    told = (await client.post(f"{API}/auth/refresh", json={}, headers=COOKIE)).json()
    own = {"Authorization": f"Bearer {told['access_token']}"}
    gone = await client.post(f"{API}/auth/revoke", json={}, headers=own)
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert not client.cookies


async def test_failed_logins_are_slowed_down_for_known_and_unknown_alike(client: httpx.AsyncClient) -> None:
    for user in ("operator", "nobody"):
        for _ in range(BY_USER.free + 1 if user == "operator" else 1):
            answer = await client.post(f"{API}/auth/token", auth=(user, "wrong"))
            assert answer.status_code in {401, 429}
    blocked = await client.post(f"{API}/auth/token", auth=("operator", PASSWORD))
    assert (blocked.status_code, blocked.json()["reason"]) == (429, "too-many-failures")
    assert int(blocked.headers["Retry-After"]) >= 1
