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
_TLS: Final = Template("""tls {
  cert_file: "$cert"
  key_file: "$key"
  min_version: "1.3"
  handshake_first: "1s"
  timeout: 5
}""")
_UNQUOTABLE = re.compile(r'["\\\n]')


class TlsFiles(Struct, frozen=True, kw_only=True):
    """Where the server finds its certificate and its key."""

    cert: str
    key: str


class ServerConfig(Struct, frozen=True, kw_only=True):
    """What differs between servers. `accounts` holds account JWTs by the accounts' public keys.

    Without `tls` everything crosses the wire in the clear: for tests and measurements of what TLS costs.
    """

    server_name: str
    listen: str
    ports_dir: str
    operator: str
    system_account: str
    accounts: Mapping[str, str]
    resolver_dir: str
    store_dir: str
    sync: Sync = "2m"
    tls: TlsFiles | None = None

    def text(self) -> str:
        """The file. Raises MmnError when a path cannot be written in it."""
        named = () if self.tls is None else (self.tls.cert, self.tls.key)
        for path in (self.listen, self.ports_dir, self.resolver_dir, self.store_dir, *named):
            if _UNQUOTABLE.search(path):
                raise MmnError(f"what the configuration quotes must hold no quote, backslash or line break: {path!r}")
        return Template(TEMPLATE.read_text()).substitute(
            server_name=self.server_name,
            listen=self.listen,
            ports_dir=self.ports_dir,
            tls="# None: whoever can listen on the wire can read it."
            if self.tls is None
            else _TLS.substitute(cert=self.tls.cert, key=self.tls.key),
            operator=self.operator,
            system_account=self.system_account,
            resolver_dir=self.resolver_dir,
            preload="\n".join(f"  {account}: {token}" for account, token in self.accounts.items()),
            store_dir=self.store_dir,
            sync_interval=self.sync if self.sync == "always" else f'"{self.sync}"',
        )
