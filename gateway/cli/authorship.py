"""An author's key on this machine: where it lies, how it is read, what it signs."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import nkeys

from contracts import signatures
from contracts.access import tokens
from contracts.errors import InvalidField
from gateway.cli.exits import Exit, Stop
from gateway.cli.session import local_network, normal
from gateway.cli.settings import Settings

KEY_FILE = "author.key"
"""The key's name in the folder of a network, whose own author it is, and in the user's folder of settings."""
AUTHORS_FILE = "authors"
"""In the folder of a network: the authors that its gateway trusts first, and its nodes always."""
_READ_BY_OTHERS = 0o007
_LARGEST_BYTES = 4096


def make(file: Path) -> nkeys.KeyPair:
    """Make a key in a file that only its owner may read. Raises Stop; what is there is never replaced."""
    key = signatures.new_author()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Stop(Exit.BAD_INPUT, "already there", f"{file} exists; name another file for another key") from None
    except OSError as error:
        raise Stop(Exit.BAD_INPUT, "the key cannot be kept", f"{file}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as opened:
        opened.write(tokens.seed(key) + "\n")
    return key


def read(file: Path) -> nkeys.KeyPair:
    """The key in a file. Raises Stop, also when others may read it: then it is nobody's own any more."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(_LARGEST_BYTES)
    except OSError as error:
        raise Stop(Exit.BAD_INPUT, "the author's key cannot be read", f"{file}: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & _READ_BY_OTHERS:
        hint = f"everybody on this machine may use {file}: chmod 600 {file}, or make a new one if others had access"
        raise Stop(Exit.BAD_INPUT, "the author's key is open to others", hint)
    try:
        return signatures.author_of(text)
    except ValueError as error:
        raise Stop(Exit.BAD_INPUT, "the author's key cannot be used", f"{file}: {error}") from error


def local_folder(known: Settings, url: str | None) -> Path | None:
    """The folder of the network on this machine, when its gateway is the one at this URL (None: any)."""
    local = local_network(known.state)
    if url is None:
        return known.state if local is not None or (known.state / KEY_FILE).exists() else None
    return known.state if local is not None and normal(local.url) == normal(url) else None


def find(known: Settings, url: str | None, chosen: Path | None = None) -> Path:
    """The key to sign with: the chosen one, else MMN_AUTHOR_KEY, else that of the network at this URL if it runs
    on this machine, else the user's own. Raises Stop when there is none.
    """
    if named := chosen or known.author_key:
        return named.expanduser()
    local = local_folder(known, url)
    likely = [*([local / KEY_FILE] if local else []), known.own_key.expanduser()]
    for file in likely:
        if file.exists():
            return file
    hint = "make one by `mmn key new`, then an admin runs `mmn authors trust` with what it prints; or name one by --key"
    raise Stop(Exit.BAD_INPUT, "there is no author's key to sign with", hint)


def signed(data: bytes, key: nkeys.KeyPair) -> str:
    """The signature of a wheel, as the line that goes beside it."""
    return signatures.line(signatures.sign(hashlib.sha256(data).hexdigest(), key))


def named(words: Sequence[str]) -> dict[str, str]:
    """Authors as they are named on a command line. Raises Stop."""
    try:
        return {signatures.check_author(word, at="--author"): "" for word in words}
    except InvalidField as error:
        raise Stop(Exit.BAD_INPUT, "wrong input", error.message) from error


def listed(folder: Path) -> dict[str, str]:
    """The authors that the nodes of a network on this machine trust, with their names. Raises Stop."""
    file = folder / AUTHORS_FILE
    try:
        return signatures.read_authors(file.read_text(), at=str(file))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Stop(Exit.BAD_INPUT, "the authors cannot be read", f"{file}: {error.strerror}") from error
    except (InvalidField, UnicodeDecodeError) as error:
        raise Stop(Exit.BAD_INPUT, "the authors cannot be read", str(error)) from error


def list_authors(folder: Path, authors: Mapping[str, str]) -> Path:
    """Write the list of authors anew, whole or not at all. Returns its file. Raises InvalidField.

    A name is for people: nothing in it may become a line of its own.
    """
    file = folder / AUTHORS_FILE
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    lines = ["# Authors whose bundles run here: a public key, then a name if there is one."]
    for key, name in authors.items():
        lines.append(" ".join([signatures.check_author(key), *name.replace("#", " ").split()]))
    partial.write_text("\n".join(lines) + "\n")
    partial.replace(file)
    return file
