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
    The first user, `admin_user`, is made from `admin_password_file` when there is none of that name.
    """

    nats_creds: Path
    state_dir: Path
    nats_url: str = "tls://127.0.0.1:4222"
    nats_ca: Path | None = None
    id: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")] = "gateway1"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    port_file: Path | None = None
    token_ttl_s: Annotated[int, Meta(ge=5, le=86400)] = 3600
    token_key_file: Path | None = None
    admin_user: str = "admin"
    admin_password_file: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises contracts.settings.BadSetting, which names the variable."""
    return settings.load(Settings, "gateway", env)
