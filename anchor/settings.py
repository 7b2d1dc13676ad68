"""Settings of an Anchor, from `MMN_ANCHOR_*` (or the shared `MMN_*`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from anchor.breakers import OPEN_S
from anchor.quotas import exempting
from contracts import settings


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Anchor. Times are seconds.

    `nats_ca`: the authority that vouches for the server at a `tls://` address; None: the system's.
    `ack_wait`: how long a crashed Anchor's jobs stay with it before another takes them.
    `grace`: how long a stopping Anchor waits for the calls it has under way.
    `breaker_open`: how long an instance that fails gets no job, the first time.

    Budgets hold for all Anchors together, in jobs: `client_rate` a second and `client_burst` at once for
    each client, `target_rate` and `target_burst` for each target prefix (/24 of IPv4, /48 of IPv6, else the
    host name), but for those in `target_exempt`: networks or names. A rate of 0 means no limit.
    `batch` jobs are refused while `live` ones wait longer than `shed_wait`, or while this Anchor's own
    loop is more than `shed_lag` late; 0 means never.
    """

    nats_url: str
    nats_creds: Path
    nats_ca: Path | None = None
    # No underscore: that is how an instance of a worker is told from everything else.
    id: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")] = "anchor1"
    log_level: str = "info"
    ack_wait: Annotated[float, Meta(ge=1, le=300)] = 10.0
    sweep_every: Annotated[float, Meta(ge=0.1, le=60)] = 1.0
    grace: Annotated[float, Meta(ge=0, le=600)] = 10.0
    breaker_open: Annotated[float, Meta(ge=0.1, le=600)] = OPEN_S
    submit_limit: Annotated[int, Meta(ge=1, le=100_000)] = 1024
    client_rate: Annotated[float, Meta(ge=0, le=1e6)] = 200.0
    client_burst: Annotated[float, Meta(ge=1, le=1e6)] = 2000.0
    target_rate: Annotated[float, Meta(ge=0, le=1e6)] = 20.0
    target_burst: Annotated[float, Meta(ge=1, le=1e6)] = 200.0
    target_exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128", "localhost")
    shed_wait: Annotated[float, Meta(ge=0, le=86400)] = 10.0
    shed_lag: Annotated[float, Meta(ge=0, le=60)] = 0.5

    def __post_init__(self) -> None:
        exempting(self.target_exempt)


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises contracts.settings.BadSetting."""
    return settings.load(Settings, "anchor", env)
