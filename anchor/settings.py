"""Settings of an Anchor, from `MMN_ANCHOR_*` (or the shared `MMN_*`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from anchor.breakers import OPEN_S
from contracts import settings


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Anchor. Times are seconds.

    `nats_ca`: the authority that vouches for the server at a `tls://` address; None: the system's.
    `ack_wait`: how long a crashed Anchor's jobs stay with it before another takes them.
    `grace`: how long a stopping Anchor waits for the calls it has under way.
    `breaker_open`: how long an instance that fails gets no job, the first time.
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


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises contracts.settings.BadSetting."""
    return settings.load(Settings, "anchor", env)
