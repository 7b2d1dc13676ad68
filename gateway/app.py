"""The web application: routes, guard, errors and documentation put together."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from contracts import signatures
from gateway import errors
from gateway.api.access import AccessController
from gateway.api.audit import AuditController
from gateway.api.auth import TokenController
from gateway.api.authors import AuthorController
from gateway.api.bundles import BundleController
from gateway.api.functions import FunctionController
from gateway.api.jobs import JobController, ResultController
from gateway.api.modules import ModuleController
from gateway.api.nodes import NodeController
from gateway.api.restarts import RestartController
from gateway.api.status import StatusController
from gateway.api.users import UserController
from gateway.live.feed import feed
from gateway.parts import Parts
from gateway.security import headers
from gateway.web import site
from gateway.web.site import Site

MAX_BODY_BYTES = 1024 * 1024

_DESCRIPTION = (
    "Upload measurement functions, run them as jobs on the nodes of the network, read the results. Get an access "
    "token with name and password, and send it as a bearer token. Errors are problem details (RFC 9457) with a "
    "`reason` for programs. Results, progress and health also stream over the WebSocket `/api/v1/feed`."
)


def create_app(parts: Parts) -> Litestar:
    """The ASGI application of one gateway."""
    built = Site.load()
    return Litestar(
        route_handlers=[
            site.index,
            site.asset,
            site.view,
            site.job_view,
            StatusController,
            TokenController,
            UserController,
            AuditController,
            AuthorController,
            BundleController,
            FunctionController,
            RestartController,
            NodeController,
            JobController,
            ResultController,
            ModuleController,
            AccessController,
            feed,
        ],
        dependencies={
            "parts": Provide(lambda: parts, sync_to_thread=False),
            "site": Provide(lambda: built, sync_to_thread=False),
        },
        guards=[parts.guard],
        exception_handlers={Exception: errors.answer},
        request_max_body_size=MAX_BODY_BYTES,
        before_send=[headers.secured(tls=parts.settings.https), parts.audit.hook()],
        cors_config=_cors(parts.settings.cors_origins),
        openapi_config=OpenAPIConfig(
            title="mmn",
            version=parts.version,
            description=_DESCRIPTION,
            path="/schema",
            # Only the document: the viewers that come with the framework load scripts from elsewhere.
            render_plugins=[JsonRenderPlugin()],
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                    "basic": SecurityScheme(type="http", scheme="basic"),
                }
            ),
            security=[{"bearer": []}],
        ),
        logging_config=None,
    )


def _cors(origins: Sequence[str]) -> CORSConfig | None:
    """Pages of these origins may use the API by a token of their own; no cookie crosses, since that needs a header."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Authorization", "Content-Type", signatures.HEADER],
        expose_headers=["Location", "Retry-After"],
        allow_credentials=False,
        max_age=600,
    )
