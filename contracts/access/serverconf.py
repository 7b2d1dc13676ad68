"""The configuration of a NATS server, from the one template `server.conf` beside this file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Final, Literal

from msgspec import Struct

from contracts.errors import MmnError

Sync = Literal["2m", "always"]
"""How long a stored message may wait for the disk: NATS's own default, or not at all."""

TEMPLATE: Final = Path(__file__).with_name("server.conf")
_UNQUOTABLE = re.compile(r'["\\\n]')


class ServerConfig(Struct, frozen=True, kw_only=True):
    """What differs between servers. `accounts` holds account JWTs by the accounts' public keys."""

    server_name: str
    listen: str
    ports_dir: str
    operator: str
    system_account: str
    accounts: Mapping[str, str]
    resolver_dir: str
    store_dir: str
    sync: Sync = "2m"

    def text(self) -> str:
        """The file. Raises MmnError when a path cannot be written in it."""
        for path in (self.listen, self.ports_dir, self.resolver_dir, self.store_dir):
            if _UNQUOTABLE.search(path):
                raise MmnError(f"what the configuration quotes must hold no quote, backslash or line break: {path!r}")
        return Template(TEMPLATE.read_text()).substitute(
            server_name=self.server_name,
            listen=self.listen,
            ports_dir=self.ports_dir,
            operator=self.operator,
            system_account=self.system_account,
            resolver_dir=self.resolver_dir,
            preload="\n".join(f"  {account}: {token}" for account, token in self.accounts.items()),
            store_dir=self.store_dir,
            sync_interval=self.sync if self.sync == "always" else f'"{self.sync}"',
        )
