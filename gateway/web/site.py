"""The built page, served from memory: hashed files for a year, the index never from a cache.

Only known names are answered, so no path reaches the disk. Views live behind the `#` of the
address; the few paths that people type instead lead there, and everything else stays the API's.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from pathlib import Path
from typing import Any, TypeAlias

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect
from msgspec import Struct

from gateway.api.jobs import JobId

DIST = Path(__file__).resolve().parent / "dist"
VIEWS = ("modules", "functions", "run", "jobs", "log")

_FOREVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_SMALL = 1024
_MEDIA = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}

NOT_BUILT = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>mmn</title></head>
<body>
<h1>mmn</h1>
<p>This gateway works, but its web page was not built. In the checkout run <code>make web</code>, then start the
gateway again. It needs the npm registry once.</p>
<p>The API is under <code>/api/v1</code>, described in <a href="/schema/openapi.json">OpenAPI</a>; the state of this
gateway is at <a href="/api/v1/status">/api/v1/status</a>.</p>
</body>
</html>
"""


class File(Struct, frozen=True, kw_only=True):
    """One file as it is sent. `packed` is the same in gzip, where that is shorter."""

    body: bytes
    packed: bytes | None
    media: str
    cache: str

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:20]}"'


def file_of(name: str, body: bytes, *, cache: str) -> File:
    """Prepare a file for sending."""
    suffix = Path(name).suffix
    media = _MEDIA.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    text = suffix in _MEDIA
    packed = gzip.compress(body, mtime=0) if text and len(body) > _SMALL else None
    return File(body=body, packed=packed, media=f"{media}; charset=utf-8" if text else media, cache=cache)


class Site(Struct, frozen=True, kw_only=True):
    """The index and the files it names."""

    index: File
    assets: dict[str, File]

    @classmethod
    def load(cls, folder: Path = DIST) -> Site:
        """Read what was built, or take the page that says how to build it."""
        try:
            index = (folder / "index.html").read_bytes()
            found = sorted((folder / "assets").iterdir())
        except OSError:
            return cls(index=file_of("index.html", NOT_BUILT, cache=_ASK_FIRST), assets={})
        assets = {path.name: file_of(path.name, path.read_bytes(), cache=_FOREVER) for path in found}
        return cls(index=file_of("index.html", index, cache=_ASK_FIRST), assets=assets)


Built: TypeAlias = NamedDependency[Site]
"""How a route asks for the page."""


def policy(host: str | None) -> str:
    """The content security policy: nothing but this origin, nothing inline."""
    # Not every browser counts a WebSocket of the same host as 'self'.
    sockets = f" ws://{host} wss://{host}" if host and _HOST.fullmatch(host) else ""
    return "; ".join(
        [
            "default-src 'self'",
            f"connect-src 'self'{sockets}",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )


def answer(file: File, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Send a file, packed for those who take it, and not at all to those who have it.

    What every answer carries, gateway.security.headers adds.
    """
    headers = {
        "Cache-Control": file.cache,
        "Content-Security-Policy": policy(request.headers.get("host")),
        "Content-Type": file.media,
        "ETag": file.tag,
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == file.tag:
        return Response(b"", status_code=304, headers=headers)
    body = file.body
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = file.packed, "gzip"
    return Response(body, headers=headers)


@get("/", include_in_schema=False, sync_to_thread=False)
def index(request: Request[Any, Any, Any], site: Built) -> Response[bytes]:
    """The page itself, or how to get it."""
    return answer(site.index, request)


@get("/assets/{name:str}", include_in_schema=False, sync_to_thread=False)
def asset(name: FromPath[str], request: Request[Any, Any, Any], site: Built) -> Response[bytes]:
    """A file of the page; its name changes with its content."""
    file = site.assets.get(name)
    if file is None:
        raise NotFoundException
    return answer(file, request)


@get([f"/{view}" for view in VIEWS], include_in_schema=False, sync_to_thread=False)
def view(request: Request[Any, Any, Any]) -> Redirect:
    """A view by the path that people type."""
    return Redirect(f"/#{request.url.path}")


@get("/jobs/{job:str}", include_in_schema=False, sync_to_thread=False)
def job_view(job: JobId) -> Redirect:
    """One job by the path that people type."""
    return Redirect(f"/#/jobs/{job}")
