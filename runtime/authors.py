"""Whose bundles a node runs: decided here, whatever the gateway has let in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from contracts import signatures
from contracts.errors import InvalidField, MmnError
from contracts.functions import Deployment
from contracts.results import Provenance


class Untrusted(MmnError):
    """A bundle that must not run here, and why."""


class NoList(MmnError):
    """The file with trusted authors cannot be used."""


class Admitted(NamedTuple):
    """Where a bundle comes from, and whether it is the operator's own or else a third party's."""

    provenance: Provenance
    own: bool


class Authors:
    """The authors a node trusts: those of a setting, and those of a file that is read anew each time.

    `third_parties`: bundles of others run here too, as long as they are signed.
    """

    def __init__(self, named: Sequence[str], file: Path | None, *, third_parties: bool) -> None:
        self._named = frozenset(named)
        self._file = file
        self._third_parties = third_parties

    def trusted(self) -> frozenset[str]:
        """Public keys. Raises NoList."""
        if self._file is None:
            return self._named
        try:
            return self._named | signatures.read_authors(self._file.read_text(), at=str(self._file)).keys()
        except OSError as error:
            raise NoList(f"the trusted authors in {self._file} cannot be read: {error.strerror}") from error
        except (InvalidField, UnicodeDecodeError) as error:
            raise NoList(f"the trusted authors cannot be read: {error}") from error

    def admit(self, deployment: Deployment) -> Admitted:
        """Let a deployment's bundle in. Raises Untrusted, or NoList."""
        return admitted(deployment, self.trusted(), third_parties=self._third_parties)


def admitted(deployment: Deployment, trusted: Collection[str], *, third_parties: bool) -> Admitted:
    """Let the bundle with this deployment's digest in, or raise Untrusted. Pure."""
    upload = deployment.upload
    if upload is None:
        raise Untrusted("the bundle is not signed: deploy it again, by `mmn deploy` with an author's key")
    try:
        found = signatures.verify(upload.signature, deployment.digest)
    except InvalidField as error:
        raise Untrusted(f"the bundle's {error}") from error
    own = signatures.is_own(found, trusted)
    if not third_parties and not own:
        raise Untrusted(f"the bundle's author {found} is not trusted on this node (MMN_RUNTIME_TRUSTED_AUTHORS)")
    return Admitted(Provenance(digest=deployment.digest, author=found, uploader=upload.by, uploaded=upload.at), own=own)
