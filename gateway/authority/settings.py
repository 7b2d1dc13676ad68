"""Settings of the authority, from `MMN_AUTHORITY_*` (or the shared `MMN_*`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from contracts import settings


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One authority; there is one in a network.

    `state_dir` is the folder that `mmn up` or `mmn provision` made: the keys lie in it, so nobody else may read it.
    `nats_ca` vouches for the server at a `tls://` address, here and at the members, which are told to use
    `public_nats_url`; None: the address that the authority itself uses.
    """

    nats_url: str
    nats_creds: Path
    state_dir: Path
    nats_ca: Path | None = None
    public_nats_url: str | None = None
    id: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")] = "authority"
    log_level: str = "info"


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises contracts.settings.BadSetting."""
    return settings.load(Settings, "authority", env)
