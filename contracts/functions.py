"""Functions and their deployments: names, versions, the manifest in a bundle, the wish in KV.

`Manifest` is a bundle's `function.toml`; `Deployment` is the value in bucket `functions`
under the function's name. Both are configuration, so unknown fields are refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from contracts.errors import InvalidField

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
VERSION = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
DIGEST = re.compile(r"[0-9a-f]{64}")
NODE = re.compile(r"[a-z0-9]{1,32}")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

ENTRY_POINT_GROUP = "mmn.functions"
MAX_BUNDLE_BYTES = 8 * 1024 * 1024
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
MAX_BUNDLE_FILES = 2000

Need = Literal["icmp", "udp", "tcp", "listen"]


def check_name(name: str, *, at: str = "function") -> str:
    """Return a function name that keeps the rule, or raise InvalidField."""
    if not NAME.fullmatch(name):
        raise InvalidField(at, "must be a lower-case letter, then letters, digits or hyphens, 63 at most")
    return name


def check_version(version: str, *, at: str = "version") -> str:
    """Return a MAJOR.MINOR.PATCH version, or raise InvalidField (micro services need semver)."""
    if not VERSION.fullmatch(version):
        raise InvalidField(at, f"must be MAJOR.MINOR.PATCH, such as 1.2.0, not {version[:40]!r}")
    return version


def check_node(node: str, *, at: str = "node") -> str:
    """Return a node id that keeps the rule, or raise InvalidField."""
    if not NODE.fullmatch(node):
        raise InvalidField(at, "must be 1 to 32 lower-case letters or digits")
    return node


def check_labels(labels: dict[str, str], *, at: str = "labels") -> dict[str, str]:
    """Return labels whose keys and values keep the rule, or raise InvalidField."""
    for key, value in labels.items():
        if not LABEL.fullmatch(key) or not LABEL.fullmatch(value):
            raise InvalidField(f"{at}.{key[:63]}", "keys and values are letters, digits, '.', '_' or '-', 63 at most")
    return labels


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hard caps of one worker, from the bundle: jobs at once, seconds a job, memory."""

    concurrency: Annotated[int, Meta(ge=1, le=1024)] = 8
    timeout: Annotated[float, Meta(gt=0, le=600)] = 30.0
    memory_mb: Annotated[int, Meta(ge=64, le=4096)] = 512


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`<package>/function.toml`: what the function needs and may use."""

    summary: Annotated[str, Meta(min_length=1, max_length=200)]
    needs: list[Need] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    self_test: dict[str, Any] = field(default_factory=dict)
    """Parameters with which the function must answer before a new version is routed to."""


def read_manifest(text: bytes) -> Manifest:
    """Decode a `function.toml`. Raises InvalidField naming the field and the rule."""
    try:
        return msgspec.toml.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidField("function.toml", str(error)) from error


class Strategy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a new version takes over: the share of jobs at each step, and how long a step lasts at least.

    `paired`: people's jobs stay on the old version; the share is that of jobs which are run a second
    time, on the new one, so that both are compared on the same targets.
    """

    steps: Annotated[list[Annotated[float, Meta(gt=0, le=1)]], Meta(min_length=1, max_length=16)] = field(
        default_factory=lambda: [0.1, 0.5]
    )
    hold_s: Annotated[float, Meta(ge=0, le=86400)] = 2.0
    paired: bool = False


class Rollout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version on its way, beside the deployment's own.

    `weight` is the share it has now: 0 until it is ready everywhere, then that of step number `step`.
    """

    id: str
    version: str
    digest: str
    manifest: Manifest
    strategy: Strategy = field(default_factory=Strategy)
    size: int = 0
    uploaded_by: str = ""
    uploaded_at: str = ""
    step: int = 0
    weight: Annotated[float, Meta(ge=0, le=1)] = 0.0
    started_at: str = ""
    step_since: str = ""


RolloutEvent = Literal["started", "weight", "promoted", "rolled-back", "superseded"]


class RolloutStep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of a version, when, why and by whom (a person or an Anchor). `rollout` is empty without one."""

    at: str
    version: str
    what: RolloutEvent
    weight: float = 0.0
    reason: str = ""
    by: str = ""
    rollout: str = ""


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An author's public key, and 64 bytes in base64. It says nothing until `contracts.signatures` has verified it."""

    author: str
    value: str


class Upload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who signed a bundle, who uploaded it, and when. Nodes believe the signature once they have verified it."""

    signature: Signature
    by: str = ""
    at: str = ""


class Deployment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wish: function F at version V, `workers` on every node that has these labels.

    `digest` is the wheel's SHA-256 in lower-case hex, also its name in bucket `bundles`.
    `versions` maps every version ever deployed to its digest, so that a version stays
    what it was and a rollback knows where to go. While a `rollout` is under way, version, digest and
    manifest are still the old ones. `previous` is the version before this one; `history` holds the newest
    steps, oldest first. `uploads` has the signature of every digest in `versions`; one that is not there is
    unsigned, and runs nowhere.
    """

    function: str
    version: str
    digest: str
    manifest: Manifest
    workers: Annotated[int, Meta(ge=0, le=64)] = 1
    match: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    versions: dict[str, str] = field(default_factory=dict)
    size: int = 0
    uploaded_by: str = ""
    uploaded_at: str = ""
    previous: str = ""
    rollout: Rollout | None = None
    history: list[RolloutStep] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    v: Literal[1] = 1

    @property
    def upload(self) -> Upload | None:
        """How the deployed version came here; None: nobody signed it."""
        return self.uploads.get(self.digest)

    @property
    def wanted(self) -> bool:
        """Whether it should run anywhere."""
        return self.enabled and self.workers > 0

    def wants_node(self, labels: dict[str, str]) -> bool:
        """Say whether a node with these labels should run this function now."""
        return self.wanted and all(labels.get(key) == value for key, value in self.match.items())
