"""Settings of a node's runtime, from `MMN_RUNTIME_*` (or the shared `MMN_*`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from contracts import settings
from contracts.errors import InvalidField
from contracts.functions import check_labels, check_node
from contracts.signatures import check_author
from runtime.authors import Authors, NoList
from runtime.box import Level, Measure, Users
from runtime.targets import RESOLVERS, TargetPolicy, infrastructure, read_networks


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node. Times are seconds.

    `nats_ca`: the authority that vouches for the server at a `tls://` address; None: the system's.
    `nats_creds`: the runtime's own credentials in account MANAGE; `signing_key`: the file with the
    seed of the node's signing key, which makes its workers' tokens in account `measure_account`
    (a public key); `worker_lifetime_s`: how long such a token is valid; `tidy_every_s`: how often bundles
    that no longer serve are removed; `drain_s`: how long a stopping runtime waits for the jobs under way.
    `allow_targets` and `deny_targets` are lists of addresses and networks; `resolvers` in them stands for
    the node's own name servers. What is not public is refused unless it is allowed; what is denied is
    refused always.
    `trusted_authors` and the lines of `trusted_authors_file` are the public keys whose bundles run here. With
    `third_parties` bundles of others run too, if they are signed. The file is read at each start of a worker.

    How workers are confined: `min_box` is the level that bundles of third parties need; `box_without` leaves measures
    out; `worker_users` are the numbers of users for workers, FIRST-LAST. `egress`: enforce where packets go where that is
    possible (auto), never (advisory), or do not start without (enforced). A worker may keep `scratch_mb` on disk, and
    use `cpu_share` processors on average over `cpu_window_s`.
    """

    nats_url: str
    nats_creds: Path
    node: str
    signing_key: Path
    measure_account: str
    state_dir: Path
    nats_ca: Path | None = None
    labels: dict[str, str] = field(default_factory=dict)
    worker_lifetime_s: Annotated[float, Meta(ge=2, le=86400)] = 3600.0
    tidy_every_s: Annotated[float, Meta(ge=0.1, le=86400)] = 60.0
    drain_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    log_level: str = "info"
    allow_targets: list[str] = field(default_factory=lambda: [RESOLVERS])
    deny_targets: list[str] = field(default_factory=list)
    trusted_authors: list[str] = field(default_factory=list)
    trusted_authors_file: Path | None = None
    third_parties: bool = False
    min_box: Level = "B2"
    box_without: list[Measure] = field(default_factory=list)
    worker_users: str = ""
    egress: Literal["auto", "advisory", "enforced"] = "auto"
    scratch_mb: Annotated[int, Meta(ge=1, le=65536)] = 256
    cpu_share: Annotated[float, Meta(ge=0.05, le=1024)] = 1.5
    cpu_window_s: Annotated[float, Meta(ge=2, le=3600)] = 30.0

    def authors(self) -> Authors:
        """Whose bundles run here. Raises InvalidField."""
        named = [check_author(one, at="MMN_RUNTIME_TRUSTED_AUTHORS") for one in self.trusted_authors]
        return Authors(named, self.trusted_authors_file, third_parties=self.third_parties)

    def targets(self) -> TargetPolicy:
        """What may be measured from here. Raises InvalidField."""
        return TargetPolicy(
            allow=read_networks(self.allow_targets, at="MMN_RUNTIME_ALLOW_TARGETS"),
            deny=read_networks(self.deny_targets, at="MMN_RUNTIME_DENY_TARGETS"),
            own=infrastructure(self.nats_url),
        )


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises contracts.settings.BadSetting."""
    found = settings.load(Settings, "runtime", env)
    try:
        check_node(found.node, at="MMN_RUNTIME_NODE")
        check_labels(found.labels, at="MMN_RUNTIME_LABELS")
        found.targets()
        if found.worker_users:
            Users.read(found.worker_users, at="MMN_RUNTIME_WORKER_USERS")
        # Better now than at the first worker.
        found.authors().trusted()
    except (InvalidField, NoList) as error:
        raise settings.BadSetting(str(error)) from error
    return found
