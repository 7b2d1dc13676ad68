from pathlib import Path

import httpx
import msgspec
import pytest

from contracts.settings import BadSetting
from gateway.app import create_app
from gateway.security.headers import ALWAYS
from gateway.security.roles import API, Role
from gateway.settings import Settings, load
from tests.unit.gateway.plane import Plane


def client(plane: Plane) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(plane.parts), raise_app_exceptions=False)  # type: ignore[arg-type]  # two spellings of ASGI
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


def with_settings(plane: Plane, **changes: object) -> Plane:
    plane.parts.settings = msgspec.structs.replace(plane.parts.settings, **changes)
    return plane


async def test_every_answer_carries_them_and_errors_too() -> None:
    plane = Plane()
    plane.network.answer = RuntimeError("inside")
    asked = [
        ("GET", "/", 200),
        ("GET", "/assets/none.js", 404),
        ("GET", "/modules", 302),
        ("GET", "/nowhere", 404),
        ("GET", "/schema/openapi.json", 200),
        ("GET", f"{API}/status", 200),
        ("GET", f"{API}/jobs", 200),
        ("POST", f"{API}/jobs", 500),
        ("PUT", f"{API}/jobs", 405),
        ("GET", f"{API}/jobs?limit=0", 400),
        ("POST", f"{API}/auth/token", 401),
        ("OPTIONS", f"{API}/jobs", 204),
    ]
    async with client(plane) as http:
        for method, path, status in asked:
            body = {"function": "echo"} if method == "POST" else None
            answer = await http.request(method, path, headers=plane.headers(Role.ADMIN), json=body)
            assert answer.status_code == status, (path, answer.text)
            for name, value in ALWAYS.items():
                if path == "/" and name in {"Content-Security-Policy", "Cache-Control"}:
                    assert name in answer.headers
                else:
                    assert answer.headers.get(name) == value, (method, path, name)
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert "Strict-Transport-Security" not in answer.headers
    await plane.parts.index.close()


@pytest.mark.parametrize(
    "change", [{"behind_tls": True}, {"tls_cert": Path("c"), "tls_key": Path("k")}], ids=["proxy", "own"]
)
async def test_over_https_browsers_are_told_to_stay_there(change: dict[str, object]) -> None:
    plane = with_settings(Plane(), **change)
    async with client(plane) as http:
        assert (await http.get(f"{API}/status")).headers["Strict-Transport-Security"] == "max-age=31536000"
    await plane.parts.index.close()


ELSEWHERE = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}


async def test_no_other_origin_may_use_the_api_unless_it_is_named() -> None:
    closed, opened = Plane(), with_settings(Plane(), cors_origins=["https://elsewhere.example"])
    for plane, allowed in ((closed, None), (opened, "https://elsewhere.example")):
        async with client(plane) as http:
            asked = await http.options(f"{API}/jobs", headers=ELSEWHERE)
            assert asked.headers.get("Access-Control-Allow-Origin") == allowed
            assert "Access-Control-Allow-Credentials" not in asked.headers
            other = await http.get(f"{API}/status", headers={"Origin": "https://evil.example"})
            assert "Access-Control-Allow-Origin" not in other.headers
            header = {**ELSEWHERE, "Access-Control-Request-Headers": "Mmn-Session"}
            asked = await http.options(f"{API}/auth/refresh", headers=header)
            assert "mmn-session" not in asked.headers.get("Access-Control-Allow-Headers", "").lower()
        await plane.parts.index.close()


BASE = {"MMN_GATEWAY_NATS_CREDS": "c", "MMN_GATEWAY_STATE_DIR": "s"}


def test_settings_for_https_go_together() -> None:
    assert not Settings(nats_creds=Path("c"), state_dir=Path("s")).https
    assert load({**BASE, "MMN_GATEWAY_TLS_CERT": "c", "MMN_GATEWAY_TLS_KEY": "k"}).https
    with pytest.raises(BadSetting, match="set both or neither"):
        load({**BASE, "MMN_GATEWAY_TLS_CERT": "c"})


@pytest.mark.parametrize("origin", ["*", "https://a/b", "elsewhere.example"])
def test_an_origin_is_named_in_full(origin: str) -> None:
    with pytest.raises(BadSetting):
        load({**BASE, "MMN_GATEWAY_CORS_ORIGINS": f'["{origin}"]'})
