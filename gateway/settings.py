"""Settings of the gateway, from `MMN_GATEWAY_*` and `MMN_NATS_URL`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from contracts import settings


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one gateway runs. `id` must be the name in its NATS credentials.

    `nats_ca` vouches for the server at a `tls://` address; None: the system's authorities do.
    `port` 0 takes any free one; `port_file` is then where to learn the URL, written once it
    listens. `state_dir` holds the index, which can be deleted at any time, and the key that
    signs access tokens unless `token_key_file` names one that several gateways share.
    An access token lasts `token_ttl_s`; a login that nobody renews for `refresh_ttl_s` is over.
    With `tls_cert` and `tls_key` (PEM files, the certificate's chain included) it speaks TLS 1.3 and nothing
    else. `behind_tls`: people reach it by https, which a proxy in front of it ends. `proxies`: whose word on
    a client's address counts (X-Forwarded-For). `cors_origins`: whose pages may use the API from a browser.
    The first user, `admin_user`, is made from `admin_password_file` when there is no admin at all,
    the first list of trusted authors from `trusted_authors_file` when the network has no such list.
    """

    nats_creds: Path
    state_dir: Path
    nats_url: str = "tls://127.0.0.1:4222"
    nats_ca: Path | None = None
    id: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")] = "gateway1"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    port_file: Path | None = None
    token_ttl_s: Annotated[int, Meta(ge=5, le=86400)] = 900
    refresh_ttl_s: Annotated[int, Meta(ge=60, le=30 * 86400)] = 7 * 86400
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_tls: bool = False
    proxies: list[str] = []
    cors_origins: list[Annotated[str, Meta(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]] = []
    token_key_file: Path | None = None
    admin_user: str = "admin"
    admin_password_file: Path | None = None
    trusted_authors_file: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def https(self) -> bool:
        """Whether people reach this gateway by https."""
        return self.behind_tls or self.tls_cert is not None


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises contracts.settings.BadSetting, which names the variable."""
    found = settings.load(Settings, "gateway", env)
    if (found.tls_cert is None) != (found.tls_key is None):
        raise settings.BadSetting("MMN_GATEWAY_TLS_CERT and MMN_GATEWAY_TLS_KEY: set both or neither")
    return found
