"""Who belongs to a network: members that joined, open invitations, everybody who was revoked.

The authority alone writes it; whoever starts a NATS server reads it, since the accounts' tokens follow from it.
A token of an invitation is kept as its SHA-256 only.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import msgspec
from msgspec import Struct, field

from contracts import clock
from contracts.access import tokens
from contracts.access.roles import Role
from contracts.errors import InvalidField, MmnError, Refused
from contracts.functions import check_labels, check_name, check_node
from contracts.membership import Invite, Join, Member, MemberKind

TOKEN_PREFIX = "mmn-join-"  # noqa: S105  # what a token begins with
_S = 1_000_000_000
FOR_GOOD = 2**40
"""Unix seconds: no token of a revoked key counts, whenever it was or will be made. Who comes back has a new key."""


class Pending(Struct, kw_only=True):
    """An invitation; `used` ones are kept until they expire, so that a second use can be told apart."""

    kind: MemberKind
    name: str
    labels: dict[str, str]
    function: str
    expires_ns: int
    used: bool = False


class Place(Struct, kw_only=True):
    """A member that joined. `user_key` and `signing_key` are public."""

    kind: MemberKind
    name: str
    labels: dict[str, str]
    function: str
    user_key: str
    signing_key: str
    instance: str
    joined: str
    revoked: bool = False


class Book(Struct, kw_only=True):
    """The whole of it. `gone` are provisioned nodes that were revoked; `revoked` maps user keys to Unix seconds.

    Tokens of such a user do not count that were made until then.
    """

    places: dict[str, Place] = field(default_factory=dict)
    pending: dict[str, Pending] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    revoked: dict[str, int] = field(default_factory=dict)
    v: int = 1

    def invite(self, wish: Invite, *, taken: bool) -> str:
        """Note an invitation and return its token. Raises Refused when the name belongs to somebody (`taken`)."""
        check_node(wish.name, at="name")
        check_labels(wish.labels, at="labels")
        if wish.kind == "module":
            check_name(wish.function, at="function")
        elif wish.function:
            raise InvalidField("function", "is for modules; a node runs what is deployed to it")
        place = self.places.get(wish.name)
        if taken or (place is not None and not place.revoked):
            raise Refused(409, "name-taken", f"{wish.name} is a member already; revoke it first")
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        now = clock.wall_ns()
        self.pending = {digest: one for digest, one in self.pending.items() if one.expires_ns > now}
        # The newest invitation of a name is the one that counts.
        self.pending = {digest: one for digest, one in self.pending.items() if one.name != wish.name or one.used}
        self.pending[_digest(token)] = Pending(
            kind=wish.kind,
            name=wish.name,
            labels=dict(wish.labels),
            function=wish.function,
            expires_ns=now + wish.valid_s * _S,
        )
        return token

    def redeem(self, wish: Join) -> Pending:
        """The invitation behind a token, now used up. Raises Refused when it gives no right to join."""
        found = self.pending.get(_digest(wish.token))
        if found is None:
            raise Refused(403, "token-unknown", "the token is unknown: misspelt, withdrawn, expired or never given out")
        if found.used:
            raise Refused(409, "token-used", f"the token of {found.name} was used already; ask for another invitation")
        if found.expires_ns <= clock.wall_ns():
            raise Refused(410, "token-expired", f"the token of {found.name} has expired; ask for another invitation")
        if wish.name and wish.name != found.name:
            raise InvalidField("name", f"the token is for {found.name}, not for {wish.name[:32]}", code=403)
        self._check_keys(found, wish)
        found.used = True
        return found

    def _check_keys(self, found: Pending, wish: Join) -> None:
        if found.kind == "node" and (wish.signing_key is None or not wish.signing_key.startswith("A")):
            raise InvalidField("signing_key", "a node must give the public half (A...) of its signing key")
        if found.kind == "module" and wish.signing_key is not None:
            raise InvalidField("signing_key", "is for nodes; a module makes no tokens")
        for at, key in (("user_key", wish.user_key), ("signing_key", wish.signing_key)):
            try:
                if key is not None:
                    tokens.raw_public(key)
            except ValueError as error:
                raise InvalidField(at, "is no public key") from error
        if not wish.user_key.startswith("U"):
            raise InvalidField("user_key", "must be a user's public key (U...)")
        if wish.user_key in self.revoked or any(wish.signing_key == one.signing_key for one in self.places.values()):
            raise Refused(403, "key-refused", "this key is in use or was revoked; make a new one")

    def revoke_user(self, key: str) -> None:
        """Let no token of this key count, not even one that its node's runtime makes later."""
        self.revoked[key] = FOR_GOOD

    def scopes(self, role: dict[str, Role]) -> list[dict[str, object]]:
        """The scoped signing keys of all that joined, given the role of each."""
        return [tokens.scope(one.signing_key, role[one.name]) for one in self.places.values() if not one.revoked]

    def members(self, provisioned: list[str]) -> list[Member]:
        """Everybody: nodes provisioned with the network, then those that joined."""
        return [
            *(Member(kind="node", name=name, revoked=name in self.gone) for name in provisioned),
            *(
                Member(
                    kind=one.kind,
                    name=one.name,
                    labels=one.labels,
                    function=one.function,
                    joined=one.joined,
                    revoked=one.revoked,
                )
                for one in self.places.values()
            ),
        ]

    def invited(self) -> list[str]:
        """Names of invitations that can be used now."""
        now = clock.wall_ns()
        return sorted(one.name for one in self.pending.values() if not one.used and one.expires_ns > now)


def load(path: Path) -> Book:
    """Read the book; an empty one when there is none. Raises MmnError when it cannot be understood."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Book)
    except FileNotFoundError:
        return Book()
    except (OSError, msgspec.DecodeError) as error:
        raise MmnError(f"the authority's book {path} cannot be read: {error}") from error


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
