"""Authors whose bundles the network takes: one value in bucket `settings`, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from contracts import signatures
from contracts.errors import InvalidField, Refused
from contracts.functions import Deployment, Signature

KEY = "authors"


class Author(Struct, frozen=True, kw_only=True):
    """Somebody whose bundles may be uploaded: a public key, a name for people, who added it and when."""

    key: str
    name: str = ""
    by: str = ""
    since: str = ""


class Authors(Struct, frozen=True, kw_only=True):
    """All of them. A network that has none takes no bundle."""

    trusted: list[Author] = []
    v: int = 1

    def trusting(self, author: Author) -> Authors:
        """With one more, or with another name of one."""
        before = next((one for one in self.trusted if one.key == author.key), None)
        if before is None:
            return replace(self, trusted=[*self.trusted, author])
        renamed = replace(before, name=author.name or before.name)
        return replace(self, trusted=[renamed if one is before else one for one in self.trusted])

    def without(self, key: str) -> Authors:
        """With one less. Raises Refused (404)."""
        left = [one for one in self.trusted if one.key != key]
        if len(left) == len(self.trusted):
            raise Refused(404, "no-such-author", f"the author {key[:60]} is not trusted anyway")
        return replace(self, trusted=left)

    def check(self, signature: Signature | None, digest: str) -> Signature:
        """Return a signature of the wheel with this SHA-256 by a trusted author. Raises Refused.

        The digest must have been computed here.
        """
        if signature is None:
            rule = "the bundle is not signed: use `mmn deploy`, or `mmn key sign WHEEL` and send both files"
            raise InvalidField("signature", rule, reason="unsigned")
        author = signatures.verify(signature, digest)
        if not signatures.is_own(author, [one.key for one in self.trusted]):
            rule = (
                f"this network does not trust the author {author}; an admin changes that by: mmn authors trust {author}"
            )
            raise Refused(403, "author-not-trusted", rule)
        return signature


class Run(Struct, frozen=True, kw_only=True):
    """A version of an author that is deployed or on its way."""

    function: str
    version: str
    on_its_way: bool = False


def runs_of(key: str, deployments: Sequence[Deployment]) -> list[Run]:
    """What of this author's is deployed or on its way."""
    found: list[Run] = []
    for one in deployments:
        if _author(one, one.digest) == key:
            found.append(Run(function=one.function, version=one.version))
        if one.rollout is not None and _author(one, one.rollout.digest) == key:
            found.append(Run(function=one.function, version=one.rollout.version, on_its_way=True))
    return found


def _author(deployment: Deployment, digest: str) -> str | None:
    upload = deployment.uploads.get(digest)
    return upload.signature.author if upload else None
