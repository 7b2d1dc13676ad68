"""Settings of a node's runtime, from `MMN_RUNTIME_*` (or the shared `MMN_*`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field

from contracts import settings
from contracts.errors import InvalidField
from contracts.functions import check_labels, check_node


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node. Times are seconds.

    `nats_creds`: the runtime's own credentials in account MANAGE; `signing_key`: the file with the
    seed of the node's signing key, which makes its workers' tokens in account `measure_account`
    (a public key); `worker_lifetime_s`: how long such a token is valid; `drain_s`: how long a stopping
    runtime waits for the jobs under way.
    """

    nats_url: str
    nats_creds: Path
    node: str
    signing_key: Path
    measure_account: str
    state_dir: Path
    labels: dict[str, str] = field(default_factory=dict)
    worker_lifetime_s: Annotated[float, Meta(ge=2, le=86400)] = 3600.0
    drain_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    log_level: str = "info"


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises contracts.settings.BadSetting."""
    found = settings.load(Settings, "runtime", env)
    try:
        check_node(found.node, at="MMN_RUNTIME_NODE")
        check_labels(found.labels, at="MMN_RUNTIME_LABELS")
    except InvalidField as error:
        raise settings.BadSetting(str(error)) from error
    return found
