"""`mmn users` and a login that renews itself, against a tiny gateway that really listens."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from contracts import clock
from gateway.cli.client import Client
from gateway.cli.exits import Exit, Stop
from gateway.cli.passwords import read_password
from gateway.cli.session import Login, Session
from gateway.cli.settings import Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TinyGateway:
    """Takes each refresh token once, and access tokens it gave out last."""

    def __init__(self) -> None:
        self.refresh = "r0"
        self.access = "a0"
        self.renewals = 0

    async def renew(self, request: web.Request) -> web.Response:
        told = await request.json()
        # A moment in which another command could come between.
        await asyncio.sleep(0.01)
        if told["refresh_token"] != self.refresh:
            return web.json_response({"title": "x", "status": 401, "detail": "used twice"}, status=401)
        self.renewals += 1
        self.refresh, self.access = f"r{self.renewals}", f"a{self.renewals}"
        return web.json_response(
            {"access_token": self.access, "expires_in": 900, "role": "admin", "refresh_token": self.refresh}
        )

    async def jobs(self, request: web.Request) -> web.Response:
        if request.headers["Authorization"] != f"Bearer {self.access}":
            return web.json_response({"title": "x", "status": 401, "detail": "cut"}, status=401)
        return web.json_response([])


@pytest.fixture
async def tiny() -> AsyncGenerator[tuple[TinyGateway, str]]:
    gateway, app = TinyGateway(), web.Application()
    app.router.add_post("/api/v1/auth/refresh", gateway.renew)
    app.router.add_get("/api/v1/jobs", gateway.jobs)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield gateway, f"http://{host}:{port}"
    await runner.cleanup()


def session(folder: Path, url: str, *, seconds: float) -> Session:
    found = Session(Settings(url=url, state=folder))
    ends = clock.wall_ns() + int(seconds * 1e9)
    found.keep(Login(user="ada", token="a0", expires_ns=ends, refresh="r0"))
    return found


async def ask(found: Session) -> Any:
    async with Client(found) as client:
        return await client.get("/jobs")


async def test_commands_side_by_side_renew_a_login_once(tiny: tuple[TinyGateway, str], tmp_path: Path) -> None:
    gateway, url = tiny
    found = session(tmp_path, url, seconds=1)
    assert await asyncio.gather(*(ask(Session(Settings(url=url, state=tmp_path))) for _ in range(5))) == [[]] * 5
    assert gateway.renewals == 1
    kept = found.login()
    assert kept is not None
    assert (kept.token, kept.refresh, kept.user) == ("a1", "r1", "ada")


async def test_a_token_that_was_cut_is_renewed_at_once(tiny: tuple[TinyGateway, str], tmp_path: Path) -> None:
    gateway, url = tiny
    found = session(tmp_path, url, seconds=600)
    gateway.access = "another"
    assert await ask(found) == []
    assert gateway.renewals == 1


async def test_a_login_that_is_over_says_what_to_do(tiny: tuple[TinyGateway, str], tmp_path: Path) -> None:
    gateway, url = tiny
    found = session(tmp_path, url, seconds=1)
    gateway.refresh = "used"
    with pytest.raises(Stop, match="mmn login") as stopped:
        await ask(found)
    assert stopped.value.code is Exit.NOT_ALLOWED


def test_a_password_comes_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    assert read_password("?", file, stdin=False) == "from the file"
    with pytest.raises(Stop, match="not both"):
        read_password("?", file, stdin=True)
    with pytest.raises(Stop, match="nobody can be asked"):
        read_password("?", None, stdin=False)
    with pytest.raises(Stop, match="cannot be read"):
        read_password("?", tmp_path / "none", stdin=False)
