"""How hosts become members of a network: invited by an admin, joined by a one-time token, revoked by name.

The gateway passes these on to the authority on `mmn.authority.*`; secrets never travel: a host that joins
makes its own keys and sends their public halves.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

MemberKind = Literal["node", "module"]
"""A node runs bundles in a runtime; a module is a single worker in any language, without one."""
Name = Annotated[str, Meta(pattern="^[a-z0-9]{1,32}$")]
PublicKey = Annotated[str, Meta(pattern="^[AU][A-Z2-7]{55}$")]


class Invite(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may join: a node with labels, or a module that serves one function."""

    kind: MemberKind
    name: Name
    labels: dict[str, str] = {}
    function: str = ""
    valid_s: Annotated[int, Meta(ge=1, le=7 * 86400)] = 3600
    v: Literal[1] = 1


class Invitation(Struct, frozen=True, kw_only=True):
    """The token for one join; it is shown once and kept by nobody. `expires` is RFC 3339."""

    token: str
    kind: MemberKind
    name: str
    expires: str
    v: int = 1


class Join(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host's answer to an invitation.

    `user_key` is the public half of the key it connects with; a node also gives that of `signing_key`, with which
    it will make its workers' tokens. `name`, when given, must be the one that was invited.
    """

    token: Annotated[str, Meta(max_length=256)]
    user_key: PublicKey
    signing_key: PublicKey | None = None
    name: str = ""
    v: Literal[1] = 1


class Membership(Struct, frozen=True, kw_only=True):
    """What a host is told that has joined.

    `user_token` is the JWT for its user key; `instance` the id of a module's worker; `nats_ca` the authority
    that vouches for NATS, in PEM, or null. `authors` are the public keys that the network trusts now, with names: a
    node's own list begins with them.
    """

    kind: MemberKind
    name: str
    user_token: str
    measure_account: str
    nats_url: str
    nats_ca: str | None = None
    labels: dict[str, str] = {}
    function: str = ""
    instance: str = ""
    authors: dict[str, str] = {}
    v: int = 1


class Revoke(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cut off a node or module by name, or any one user by its public key or the name of its credentials."""

    kind: Literal["node", "module", "user"]
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    v: Literal[1] = 1


class Member(Struct, frozen=True, kw_only=True):
    """One member as the authority knows it. `joined` is null for a node that was provisioned with the network."""

    kind: MemberKind
    name: str
    labels: dict[str, str] = {}
    function: str = ""
    joined: str | None = None
    revoked: bool = False


class Members(Struct, frozen=True, kw_only=True):
    """All members, invitations that can still be used, and how many users are revoked."""

    members: list[Member]
    invited: list[str]
    revoked_users: int = 0
    v: int = 1
