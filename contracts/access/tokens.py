"""NATS JWTs (ADR-14): operator, accounts, scoped signing keys, users; made with PyJWT.

A token is signed with an Ed25519 nkey under the algorithm name `ed25519-nkey`, which this
module registers with PyJWT. A user JWT under a scoped key carries a name, tags and a lifetime and no
permission of its own: the account's template decides.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
import msgspec
import nkeys
from jwt.algorithms import Algorithm
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from contracts import clock
from contracts.access.roles import Role

ALGORITHM = "ed25519-nkey"
CLAIMS_UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
"""Where the server takes a newer token of an account."""
SYSTEM_INBOX = "_INBOX_sys"
_UNLIMITED: dict[str, Any] = {
    "subs": -1,
    "data": -1,
    "payload": -1,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
    "conn": -1,
    "leaf": -1,
}
_JETSTREAM = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


def new_key(prefix: int) -> nkeys.KeyPair:
    """A fresh key pair; `prefix` is one of nkeys.PREFIX_BYTE_OPERATOR, _ACCOUNT, _USER."""
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix)))


def new_user_key() -> nkeys.KeyPair:
    """A fresh user key pair."""
    return new_key(nkeys.PREFIX_BYTE_USER)


def public(key: nkeys.KeyPair) -> str:
    """The public key as text: `O...`, `A...` or `U...`."""
    return bytes(key.public_key or b"").decode()


def seed(key: nkeys.KeyPair) -> str:
    """The secret seed as text: `SO...`, `SA...` or `SU...`."""
    return bytes(key.seed or b"").decode()


def raw_public(text: str) -> bytes:
    """The 32 bytes of a public nkey. Raises ValueError on a wrong form or checksum."""
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError as error:
        raise ValueError("a public key is base32 text") from error
    body, checksum = raw[:-2], int.from_bytes(raw[-2:], "little")
    if len(body) != 33 or nkeys.crc16(bytearray(body)) != checksum:
        raise ValueError("not a public nkey: wrong length or checksum")
    return bytes(body[1:])


class _NKeyAlgorithm(Algorithm):
    """Signs with an nkeys.KeyPair, verifies with the public key's text."""

    def prepare_key(self, key: nkeys.KeyPair | str) -> nkeys.KeyPair | VerifyKey:
        return VerifyKey(raw_public(key)) if isinstance(key, str) else key

    def sign(self, msg: bytes, key: nkeys.KeyPair) -> bytes:
        return bytes(key.sign(msg))

    def verify(self, msg: bytes, key: VerifyKey, sig: bytes) -> bool:
        try:
            key.verify(msg, sig)
        except (BadSignatureError, ValueError):
            return False
        return True

    @staticmethod
    def to_jwk(key_obj: Any, as_dict: bool = False) -> Any:  # noqa: FBT001, FBT002  # PyJWT's signature
        raise NotImplementedError

    @staticmethod
    def from_jwk(jwk: str | dict[str, Any]) -> Any:
        raise NotImplementedError


jwt.register_algorithm(ALGORITHM, _NKeyAlgorithm())


def encode(claims: Mapping[str, Any], signer: nkeys.KeyPair) -> str:
    """Sign claims; adds `iat`, `iss` and `jti`."""
    body = dict(claims) | {"iat": clock.wall_ns() // 1_000_000_000, "iss": public(signer)}
    digest = hashlib.new("sha512_256", msgspec.json.encode(body)).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    key: Any = signer  # PyJWT's types name only the key classes of its own algorithms
    return jwt.encode(body, key, algorithm=ALGORITHM, headers={"typ": "JWT"})


def decode(token: str, issuer: str) -> dict[str, Any]:
    """Check a token against its issuer's public key. Raises jwt.InvalidTokenError."""
    return jwt.decode(token, issuer, algorithms=[ALGORITHM], options={"verify_aud": False})


def operator(key: nkeys.KeyPair, *, name: str, system_account: str) -> str:
    """The operator's own token; `system_account` is a public key."""
    nats = {"type": "operator", "version": 2, "system_account": system_account}
    return encode({"sub": public(key), "name": name, "nats": nats}, key)


def scope(signing_key: str, role: Role) -> dict[str, Any]:
    """A scoped signing key: whoever holds it can make users of this role and nothing else."""
    template: dict[str, Any] = {
        "pub": {"allow": list(role.publish)} | ({"deny": list(role.publish_deny)} if role.publish_deny else {}),
        "sub": {"allow": list(role.subscribe)},
        "subs": role.subscriptions,
        "data": -1,
        "payload": -1,
        "allowed_connection_types": ["STANDARD"],
    }
    if role.responses is not None:
        template["resp"] = {"max": role.responses.count, "ttl": role.responses.ttl_ns}
    return {"kind": "user_scope", "key": signing_key, "role": role.name, "template": template}


def account(
    key: str,
    signer: nkeys.KeyPair,
    *,
    name: str,
    jetstream: bool = False,
    scopes: Sequence[Mapping[str, Any]] = (),
    exports: Sequence[Mapping[str, Any]] = (),
    imports: Sequence[Mapping[str, Any]] = (),
    revoked: Mapping[str, int] | None = None,
) -> str:
    """An account's token, signed by the operator. `key` is the account's public key.

    `revoked` maps users' public keys to Unix seconds: tokens made until then do not count any more.
    """
    nats: dict[str, Any] = {
        "type": "account",
        "version": 2,
        "limits": _UNLIMITED | (_JETSTREAM if jetstream else {}),
        "default_permissions": {"pub": {}, "sub": {}},
    }
    for field, value in (("signing_keys", scopes), ("exports", exports), ("imports", imports)):
        if value:
            nats[field] = [dict(item) for item in value]
    if revoked:
        nats["revocations"] = dict(revoked)
    return encode({"sub": key, "name": name, "nats": nats}, signer)


def system_user(key: str, account: nkeys.KeyPair) -> str:
    """The token of a user of the system account who may replace accounts' tokens, and nothing else."""
    nats: dict[str, Any] = {
        "type": "user",
        "version": 2,
        "subs": -1,
        "data": -1,
        "payload": -1,
        "pub": {"allow": [CLAIMS_UPDATE]},
        "sub": {"allow": [f"{SYSTEM_INBOX}.>"]},
    }
    return encode({"sub": key, "name": "authority", "nats": nats}, account)


def user(
    key: str,
    signer: nkeys.KeyPair,
    *,
    account_key: str,
    name: str,
    tags: Sequence[str] = (),
    lifetime_s: float | None = None,
) -> str:
    """A user's token under a scoped signing key. `name` fills `{{name()}}`, `tags` are `key:value`.

    It carries no permission fields at all: the server refuses a scoped user that does.
    """
    nats: dict[str, Any] = {"type": "user", "version": 2, "issuer_account": account_key}
    if tags:
        nats["tags"] = list(tags)
    claims: dict[str, Any] = {"sub": key, "name": name, "nats": nats}
    if lifetime_s is not None:
        claims["exp"] = clock.wall_ns() // 1_000_000_000 + int(lifetime_s)
    return encode(claims, signer)


def creds_file(token: str, key: nkeys.KeyPair) -> str:
    """The text of a `.creds` file, as the `nats` CLI and every client reads it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed(key)}\n------END USER NKEY SEED------\n"
    )
