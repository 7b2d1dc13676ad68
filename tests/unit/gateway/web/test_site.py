import gzip
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient, create_test_client

from gateway.web import site
from gateway.web.site import NOT_BUILT, Site, policy

SCRIPT = b"export const text = 'a long enough script to be packed';\n" * 40


@pytest.fixture
def built(tmp_path: Path) -> Site:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_bytes(b"<!doctype html><title>mmn</title>")
    (tmp_path / "assets" / "index-abc.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "icon-abc.svg").write_bytes(b"<svg/>")
    return Site.load(tmp_path)


def client(built: Site) -> TestClient[Litestar]:
    handlers = [site.index, site.asset, site.view, site.job_view]
    provide = Provide(lambda: built, sync_to_thread=False)
    return create_test_client(handlers, dependencies={"site": provide}, openapi_config=None)


def test_the_index_is_asked_for_each_time_and_files_with_a_hash_never_again(built: Site) -> None:
    with client(built) as http:
        index = http.get("/")
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        assert index.headers["cache-control"] == "no-cache"
        script = http.get("/assets/index-abc.js", headers={"Accept-Encoding": "identity"})
        assert script.content == SCRIPT
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert http.get("/assets/icon-abc.svg").headers["content-type"] == "image/svg+xml; charset=utf-8"
        known = http.get("/", headers={"If-None-Match": index.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")


def test_text_is_packed_for_those_who_take_it(built: Site) -> None:
    with client(built) as http:
        script = http.get("/assets/index-abc.js", headers={"Accept-Encoding": "gzip"})
        assert script.headers["content-encoding"] == "gzip"
        assert script.headers["vary"] == "Accept-Encoding"
        assert script.content == SCRIPT
    packed = built.assets["index-abc.js"].packed
    assert packed is not None
    assert gzip.decompress(packed) == SCRIPT


def test_every_answer_forbids_what_the_page_does_not_need(built: Site) -> None:
    with client(built) as http:
        headers = http.get("/", headers={"Host": "mmn.example.net:8443"}).headers
    rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert rules["default-src"] == rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["connect-src"] == "'self' ws://mmn.example.net:8443 wss://mmn.example.net:8443"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example; script-src *", "a b", "", None, "[::1"])
def test_a_strange_host_gets_into_no_policy(host: str | None) -> None:
    assert "connect-src 'self';" in policy(host)


def test_an_address_of_ipv6_does() -> None:
    assert "ws://[::1]:8080" in policy("[::1]:8080")


def test_typed_paths_lead_to_their_views_and_no_other_does(built: Site) -> None:
    with client(built) as http:
        assert http.get("/log", follow_redirects=False).headers["location"] == "/#/log"
        assert http.get("/jobs/abc-1", follow_redirects=False).headers["location"] == "/#/jobs/abc-1"
        unknown = ("/elsewhere", "/api/v1/nothing", "/schema/nothing", "/assets/nothing.js", "/assets/../index.html")
        assert [http.get(path).status_code for path in unknown] == [404] * len(unknown)


def test_without_the_page_a_plain_one_says_how_to_build_it(tmp_path: Path) -> None:
    with client(Site.load(tmp_path)) as http:
        assert http.get("/").content == NOT_BUILT
    assert b"make web" in NOT_BUILT
    assert b"<script" not in NOT_BUILT
    assert b"style" not in NOT_BUILT
