"""The first set-up of a network: keys, accounts, credentials, server configuration, streams.

Everything lies under one state directory, 0700, and is made once; a second call keeps what
is there and adds what is missing, such as a new node's key. Layout:

    keys/*.nk                seeds of the operator, the accounts and the roles' signing keys
    creds/<identity>.creds   one file an identity: anchor1, gateway, runtime-<node>, operator, admin, provisioner
    nodes/<node>.nk          the node's own signing key: with it a runtime makes its workers' tokens
    authority/book.json      who joined and who was revoked; the authority alone writes it
    tls/                     the network's own certificate authority and the servers' certificates (`access.ca`)
    nats/server.conf         operator mode, two accounts and SYS, JetStream, full resolver
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jwt
import nkeys
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from contracts import bus, streams, subjects
from contracts.access import book, roles, serverconf, tokens
from contracts.functions import check_node

PROVISIONER_ID = "provisioner"
OPERATOR_ID = "operator"
ADMIN_ID = "admin"
_PATIENCE_S = 30.0
_ACCOUNTS = ("SYS", "MEASURE", "MANAGE")


class NetworkFiles:
    """The keys and credentials of one network in its state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path in (folder, self._keys, self._creds, self._nodes, self.nats_dir):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
        self.operator = self._key("operator", nkeys.PREFIX_BYTE_OPERATOR)
        self.accounts = {name: self._key(f"account-{name}", nkeys.PREFIX_BYTE_ACCOUNT) for name in _ACCOUNTS}
        self.signers = {
            role.name: self._key(f"role-{role.name}", nkeys.PREFIX_BYTE_ACCOUNT) for role in roles.MANAGE_ROLES
        }

    @property
    def _keys(self) -> Path:
        return self.folder / "keys"

    @property
    def _creds(self) -> Path:
        return self.folder / "creds"

    @property
    def _nodes(self) -> Path:
        return self.folder / "nodes"

    @property
    def nats_dir(self) -> Path:
        """Where the embedded server keeps its configuration and data."""
        return self.folder / "nats"

    @property
    def tls_dir(self) -> Path:
        """Where the network's own certificate authority keeps what it made."""
        return self.folder / "tls"

    def _key(self, name: str, prefix: int, folder: Path | None = None) -> nkeys.KeyPair:
        path = (folder or self._keys) / f"{name}.nk"
        if path.exists():
            return nkeys.from_seed(bytearray(path.read_bytes().strip()))
        key = tokens.new_key(prefix)
        write_secret(path, tokens.seed(key))
        return key

    def account_key(self, name: str) -> str:
        """An account's public key; `name` is SYS, MEASURE or MANAGE."""
        return tokens.public(self.accounts[name])

    def node_key(self, node: str) -> Path:
        """Make the node's signing key if it has none. Returns the file with its seed."""
        self._key(check_node(node), nkeys.PREFIX_BYTE_ACCOUNT, self._nodes)
        return self._nodes / f"{node}.nk"

    def nodes(self) -> list[str]:
        """Every node that was provisioned with the network, those that were revoked since included."""
        return sorted(path.stem for path in self._nodes.glob("*.nk"))

    def module_key(self, name: str) -> nkeys.KeyPair:
        """The key that makes the token of an external module's worker; made if there is none."""
        return self._key(f"module-{check_node(name)}", nkeys.PREFIX_BYTE_ACCOUNT)

    def user_key(self, file: str) -> str | None:
        """The public key of whom a `.creds` file is for; None without such a file."""
        try:
            token = (self._creds / f"{file}.creds").read_text().split()[4]
            claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        except (OSError, IndexError, jwt.InvalidTokenError):
            return None
        return str(claims["sub"])

    @property
    def book_file(self) -> Path:
        """Where the authority keeps who joined and who was revoked."""
        return self.folder / "authority" / "book.json"

    def credentials(self, role: roles.Role, identity: str, *, file: str | None = None) -> Path:
        """Make a `.creds` file of a role in MANAGE if there is none. Returns its path."""
        path = self._creds / f"{file or identity}.creds"
        if not path.exists():
            key = tokens.new_user_key()
            token = tokens.user(
                tokens.public(key),
                self.signers[role.name],
                account_key=self.account_key("MANAGE"),
                name=subjects.token(identity, at="identity"),
            )
            write_secret(path, tokens.creds_file(token, key))
        return path

    def account_tokens(self, members: book.Book | None = None) -> dict[str, str]:
        """The three account JWTs, by account name, with roles and members (those of the book) as they are now."""
        members = book.load(self.book_file) if members is None else members
        measure, manage, system = (self.account_key(name) for name in ("MEASURE", "MANAGE", "SYS"))
        node_keys = {
            node: self._key(node, nkeys.PREFIX_BYTE_ACCOUNT, self._nodes)
            for node in self.nodes()
            if node not in members.gone
        }
        worker_roles = {name: roles.worker(name) for name in members.places}
        connections = f"$SYS.ACCOUNT.{measure}.>"
        return {
            "SYS": tokens.account(
                system,
                self.operator,
                name="SYS",
                exports=[{"name": "connections", "subject": connections, "type": "stream"}],
            ),
            "MEASURE": tokens.account(
                measure,
                self.operator,
                name="MEASURE",
                scopes=[
                    *(tokens.scope(tokens.public(key), roles.worker(node)) for node, key in node_keys.items()),
                    *members.scopes(worker_roles),
                ],
                revoked=members.revoked,
                exports=measure_exports(),
                imports=[_imported("results", subjects.OUTS_EXPORT, manage, "service")],
            ),
            "MANAGE": tokens.account(
                manage,
                self.operator,
                name="MANAGE",
                jetstream=True,
                revoked=members.revoked,
                scopes=[tokens.scope(tokens.public(self.signers[role.name]), role) for role in roles.MANAGE_ROLES],
                exports=[{"name": "results", "subject": subjects.OUTS_EXPORT, "type": "service"}],
                imports=[
                    *(_imported(item["name"], item["subject"], measure, item["type"]) for item in measure_exports()),
                    _imported("connections", connections, system, "stream", local=f"{subjects.CONNECTIONS}.>"),
                ],
            ),
        }

    def server_config(
        self,
        *,
        listen: str,
        ports_dir: Path,
        data_dir: Path,
        sync: serverconf.Sync = "2m",
        tls: serverconf.TlsFiles | None = None,
    ) -> str:
        """A server's configuration for this network, with the accounts and roles as they are now."""
        operator = self.nats_dir / "operator.jwt"
        if not operator.exists():
            token = tokens.operator(self.operator, name="mmn", system_account=self.account_key("SYS"))
            write_secret(operator, token)
        return serverconf.ServerConfig(
            server_name=f"mmn-{self.account_key('SYS')[1:9].lower()}",
            listen=listen,
            ports_dir=str(ports_dir),
            operator=operator.read_text(),
            system_account=self.account_key("SYS"),
            accounts={self.account_key(name): token for name, token in self.account_tokens().items()},
            resolver_dir=str(data_dir / "jwt"),
            store_dir=str(data_dir),
            sync=sync,
            tls=tls,
        ).text()

    def write_server_config(
        self, *, host: str, port: int, ports_dir: Path, tls: serverconf.TlsFiles | None = None
    ) -> Path:
        """Write the embedded server's configuration. Port -1 lets the server choose; it tells in `ports_dir`."""
        path = self.nats_dir / "server.conf"
        text = self.server_config(listen=f"{host}:{port}", ports_dir=ports_dir, data_dir=self.nats_dir, tls=tls)
        write_secret(path, text)
        return path


def measure_exports() -> list[dict[str, Any]]:
    """What of MEASURE can be reached from MANAGE."""
    return [
        {"name": "discovery", "subject": "$SRV.>", "type": "service", "response_type": "Stream"},
        {
            "name": "calls",
            "subject": subjects.CALLS,
            "type": "service",
            "response_type": "Singleton",
            # The server's default of two minutes silently drops the answers of longer jobs.
            "response_threshold": int(roles.REPLY_TTL_S * 1e9),
        },
        {"name": "progress", "subject": subjects.PROGRESS, "type": "stream"},
        {"name": "health", "subject": subjects.HEALTH, "type": "stream"},
        {"name": "logs", "subject": subjects.LOGS, "type": "stream"},
    ]


def _imported(name: str, subject: str, account: str, kind: str, *, local: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "subject": subject,
        "account": account,
        "type": kind,
        "local_subject": local or subject,
    }


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.replace(path)


def mint_worker(
    node_key: nkeys.KeyPair, *, account_key: str, function: str, suffix: str, user_key: str, lifetime_s: float | None
) -> str:
    """A worker's token: made by its node's runtime for one function and one instance.

    `suffix` is the instance id without `<node>_`; `user_key` the public key the worker made itself.
    """
    return tokens.user(
        user_key,
        node_key,
        account_key=account_key,
        name=subjects.token(suffix, at="instance"),
        tags=[f"fn:{subjects.token(function, at='function')}"],
        lifetime_s=lifetime_s,
    )


async def provision_streams(
    connection: bus.Bus, *, queue_bound: int = streams.QUEUE_BOUND, replicas: int = 1
) -> list[str]:
    """Make or update every stream and bucket. Returns the names of those that were made now."""
    # Patient: making a dozen streams on a busy disk takes longer than any later request.
    js = connection.nc.jetstream(timeout=_PATIENCE_S)
    configs = streams.all_streams(queue_bound=queue_bound, replicas=replicas)
    store = f"OBJ_{streams.OBJECTS_BUNDLES}"
    wanted = [*(str(config.name) for config in configs), *(f"KV_{name}" for name in streams.BUCKETS), store]
    existing = await _existing(js, wanted)
    made: list[str] = []
    for config in configs:
        if config.name in existing:
            await js.update_stream(config)
        else:
            await js.add_stream(config)
            made.append(str(config.name))
    for bucket in streams.all_buckets(replicas=replicas):
        if f"KV_{bucket.bucket}" not in existing:
            await js.create_key_value(bucket)
            made.append(f"KV_{bucket.bucket}")
    if store not in existing:
        await js.create_object_store(streams.OBJECTS_BUNDLES, streams.bundle_store(replicas=replicas))
        made.append(store)
    return made


async def _existing(js: JetStreamContext, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        try:
            await js.stream_info(name)
        except NotFoundError:
            continue
        found.add(name)
    return found
