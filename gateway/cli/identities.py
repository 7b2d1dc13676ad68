"""Who is who in a network: every process's credentials, and a folder for each with what it may know."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from contracts.access import provision, roles, tokens
from contracts.access.serverconf import TlsFiles
from gateway.cli import authorship

GATEWAY_ID = "gateway1"
AUTHORITY_ID = "authority"
PASSWORD_FILE = "password"  # noqa: S105  # a file's name
OWN_AUTHOR = "the network's own author"


def anchor_ids(count: int = 1) -> list[str]:
    """`anchor1`, `anchor2` and so on."""
    return [f"anchor{number}" for number in range(1, count + 1)]


def credentials(
    files: provision.NetworkFiles, nodes: Iterable[str], anchors: Iterable[str] = ("anchor1",)
) -> dict[str, Path]:
    """Make or find every identity of a network with these nodes; returns the files by their short names."""
    make = files.credentials
    made = {
        "operator": make(roles.OPERATOR, provision.OPERATOR_ID),
        "admin": make(roles.ADMIN, provision.ADMIN_ID),
        "provisioner": make(roles.PROVISIONER, provision.PROVISIONER_ID),
        "authority": make(roles.AUTHORITY, AUTHORITY_ID),
        "gateway": make(roles.GATEWAY, GATEWAY_ID, file="gateway"),
    }
    for anchor in anchors:
        made[anchor] = make(roles.ANCHOR, anchor)
    for node in nodes:
        files.node_key(node)
        made[f"runtime-{node}"] = make(roles.RUNTIME, node, file=f"runtime-{node}")
    return made


def password_file(files: provision.NetworkFiles) -> Path:
    """The file with the first user's password, made if there is none."""
    path = files.folder / PASSWORD_FILE
    if not path.exists():
        provision.write_secret(path, secrets.token_urlsafe(18))
    return path


def authors(folder: Path, named: Mapping[str, str] | None = None) -> Path:
    """The file with the authors that this network trusts at first and its nodes always: those named are added.

    A network that is new and would have none is given an author of its own, whose key lies beside the file. One that
    trusts nobody any more stays so. Raises Stop.
    """
    file = folder / authorship.AUTHORS_FILE
    known = authorship.listed(folder)
    wanted = known | dict(named or {})
    if not wanted and not file.exists():
        own = folder / authorship.KEY_FILE
        key = authorship.read(own) if own.exists() else authorship.make(own)
        wanted[tokens.public(key)] = OWN_AUTHOR
    return file if file.exists() and wanted == known else authorship.list_authors(folder, wanted)


def hand_out(
    files: provision.NetworkFiles, nodes: Sequence[str], folder: Path, *, server_config: str, tls: TlsFiles
) -> list[str]:
    """Copy what each process needs to a folder of its own. Returns the folders' names.

    nats/          server.conf, server.crt, server.key
    streams/       nats.creds of the provisioner, for `mmn streams`
    anchor/        nats.creds
    gateway/       nats.creds, password: the first user's, authors: those it trusts first
    operator/      nats.creds, password: what people use
    author/        author.key: with it bundles are signed; only if the network has an author of its own
    admin/         nats.creds: for administrators, who may also call workers past the Anchors
    node-<node>/   nats.creds, signing.key, measure-account: the public key of account MEASURE, authors: those it trusts

    Whoever connects to NATS also has ca.crt, which vouches for the server.
    """
    made = {name: path.read_text() for name, path in credentials(files, nodes).items()}
    password = password_file(files).read_text()
    trusted = authors(files.folder).read_text()
    given: dict[str, Mapping[str, str]] = {
        "nats": {
            "server.conf": server_config,
            "server.crt": Path(tls.cert).read_text(),
            "server.key": Path(tls.key).read_text(),
        },
        "streams": {"nats.creds": made["provisioner"]},
        "anchor": {"nats.creds": made["anchor1"]},
        "gateway": {"nats.creds": made["gateway"], PASSWORD_FILE: password, authorship.AUTHORS_FILE: trusted},
        "operator": {"nats.creds": made["operator"], PASSWORD_FILE: password},
        "admin": {"nats.creds": made["admin"]},
    }
    if (key := files.folder / authorship.KEY_FILE).exists():
        given["author"] = {authorship.KEY_FILE: key.read_text()}
    for node in nodes:
        # A hyphen is in no node's id, so that no node is taken for a service.
        given[f"node-{node}"] = {
            "nats.creds": made[f"runtime-{node}"],
            "signing.key": files.node_key(node).read_text(),
            "measure-account": files.account_key("MEASURE"),
            authorship.AUTHORS_FILE: trusted,
        }
    authority = (files.tls_dir / "ca.crt").read_text()
    for name, own in given.items():
        contents = own if name in {"nats", "author"} else {**own, "ca.crt": authority}
        # The folder may be a volume that was made by somebody else: its mode is left as it is.
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, text in contents.items():
            provision.write_secret(folder / name / file, text)
    return list(given)
