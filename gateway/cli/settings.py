"""What the command line takes from the environment, and what it hands to the processes it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HOME", "XDG_CACHE_HOME")
KEPT_PREFIXES = ("PYTHON", "UV_", "MMN_ANCHOR_", "MMN_AUTHORITY_", "MMN_GATEWAY_", "MMN_RUNTIME_")


class Settings(Struct, frozen=True, kw_only=True):
    """Where things are.

    `url` is the gateway to talk to (MMN_URL); None: the last login, else the network of `state`.
    `ca` is a file with the authority that vouches for the gateway (MMN_CA), beside what this machine trusts.
    `state` is the folder of the network on this machine and of the logins (MMN_STATE).
    `demo_system_resolver`: whether the demo also asks this machine's own name server, which may be
    elsewhere (MMN_DEMO_SYSTEM_RESOLVER, 0 for no).
    `author_key` is what to sign bundles with (MMN_AUTHOR_KEY); `own_key` is where the user's own lies.
    """

    url: str | None
    state: Path
    demo_system_resolver: bool = True
    ca: Path | None = None
    author_key: Path | None = None
    own_key: Path = Path("~/.config/mmn/author.key")


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read MMN_URL, MMN_CA, MMN_STATE, MMN_AUTHOR_KEY and MMN_DEMO_SYSTEM_RESOLVER; the rest has defaults after the XDG base directories."""
    home = Path(env.get("HOME") or "~").expanduser()
    base = Path(env.get("XDG_STATE_HOME") or home / ".local" / "state")
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    state, author_key = env.get("MMN_STATE"), env.get("MMN_AUTHOR_KEY")
    return Settings(
        url=env.get("MMN_URL") or None,
        state=Path(state).expanduser() if state else base / "mmn",
        ca=Path(env["MMN_CA"]).expanduser() if env.get("MMN_CA") else None,
        demo_system_resolver=env.get("MMN_DEMO_SYSTEM_RESOLVER", "1") != "0",
        author_key=Path(author_key).expanduser() if author_key else None,
        own_key=config / "mmn" / "author.key",
    )


def child_environment(own: Mapping[str, str], env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a child: what every program needs, services' settings, and `own`.

    Nothing else is inherited, so a secret in the caller's shell does not reach a measurement.
    """
    kept = {name: value for name, value in env.items() if name in KEPT or (name.startswith(KEPT_PREFIXES))}
    return kept | {"PYTHONUNBUFFERED": "1"} | dict(own)


def scripts() -> Path:
    """The folder of this Python's own programs, where packages put theirs."""
    return Path(sys.executable).parent


def search_path(env: Mapping[str, str] = os.environ) -> str:
    """Where to look for programs: beside this Python first."""
    return os.pathsep.join([str(scripts()), env.get("PATH", os.defpath)])
