"""Settings of an Anchor, from `MMN_ANCHOR_*` (or the shared `MMN_*`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from contracts import settings


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Anchor. Times are seconds.

    `ack_wait`: how long a crashed Anchor's jobs stay with it before another takes them.
    `grace`: how long a stopping Anchor waits for the calls it has under way.
    """

    nats_url: str
    nats_creds: Path
    id: str = "anchor1"
    log_level: str = "info"
    ack_wait: Annotated[float, Meta(ge=1, le=300)] = 10.0
    sweep_every: Annotated[float, Meta(ge=0.1, le=60)] = 1.0
    grace: Annotated[float, Meta(ge=0, le=600)] = 10.0
    submit_limit: Annotated[int, Meta(ge=1, le=100_000)] = 1024


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises contracts.settings.BadSetting."""
    return settings.load(Settings, "anchor", env)
