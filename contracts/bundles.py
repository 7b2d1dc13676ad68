"""The rules of a bundle, a wheel that carries one function version, checked without running it.

The gateway inspects an upload, and every node inspects it again before it unpacks. Nothing
a header of the archive says is believed: sizes are measured while reading, and what is in
the archive must be what RECORD lists. Every broken rule is an `InvalidField` whose field
begins with `bundle` and whose `reason` is a word for programs.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import importlib.metadata
import io
import os
import re
import stat
import struct
import sys
import unicodedata
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from msgspec import Struct
from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion

from contracts.errors import InvalidField
from contracts.functions import (
    ENTRY_POINT_GROUP,
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_FILES,
    MAX_UNPACKED_BYTES,
    NAME,
    VERSION,
    Manifest,
    read_manifest,
)

_CHUNK = 64 * 1024
_SMALL_FILE_BYTES = 1024 * 1024
_ENTRY_SIGNATURE = b"PK\x01\x02"
_TAG = "py3-none-any"
_UNRECORDED = frozenset({"RECORD", "RECORD.jws", "RECORD.p7s"})
_OURS = frozenset({"anchor", "contracts", "functions", "gateway", "runtime", "tests"})
_OBJECT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*):([A-Za-z_][A-Za-z0-9_]*)")
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises on damaged or hostile input, besides its own exception."""


class BundleInfo(Struct, frozen=True, kw_only=True):
    """What inspection found: `entry` is `package:attr`, `requires` the Requires-Dist lines."""

    function: str
    version: str
    digest: str
    package: str
    entry: str
    manifest: Manifest
    summary: str
    requires: list[str]
    size: int
    files: int


def _broken(part: str, rule: str, reason: str, *, code: int = 400) -> InvalidField:
    return InvalidField(f"bundle.{part}" if part else "bundle", rule, code=code, reason=reason)


def base_environment() -> dict[str, str]:
    """The distributions of this interpreter, by normalised name."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        found.setdefault(canonicalize_name(distribution.name), distribution.version)
    return found


def missing(requirements: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """List the requirements that these distributions do not meet. Raises InvalidField.

    Markers are evaluated for this interpreter; a requirement by URL is never met.
    """
    unmet: list[str] = []
    for text in requirements:
        try:
            requirement = Requirement(text)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            version = environment.get(canonicalize_name(requirement.name))
            met = (
                version is not None
                and requirement.url is None
                and requirement.specifier.contains(version, prereleases=True)
            )
        except (InvalidRequirement, InvalidVersion, ValueError, LookupError) as error:
            raise _broken("requires-dist", f"{text[:200]!r} cannot be read: {error}", "bad-requirement") from error
        if applies and not met:
            unmet.append(text)
    return unmet


def inspect_wheel(
    data: bytes, *, filename: str | None = None, environment: Mapping[str, str] | None = None
) -> BundleInfo:
    """Check a wheel against every rule of a bundle, and run none of it.

    `filename` is checked against the content when it is given. `environment` maps names of
    distributions to versions, by default those of this interpreter. Raises InvalidField.
    """
    with _archive(data) as archive:
        hashes, small = _read_all(archive)
    folder = _dist_info(hashes)
    fields = _metadata(small, folder)
    name = canonicalize_name(fields.get("name", ""))
    version = fields.get("version", "")
    if not NAME.fullmatch(name):
        raise _broken("name", "must be a lower-case letter, then letters, digits or hyphens, 63 at most", "bad-name")
    if not VERSION.fullmatch(version):
        raise _broken("version", f"must be MAJOR.MINOR.PATCH, such as 1.2.0, not {version[:40]!r}", "bad-version")
    told = folder.removesuffix(".dist-info").rpartition("-")
    if canonicalize_name(told[0]) != name or told[2] != version:
        raise _broken("dist-info", f"{folder} belongs to another wheel than {name} {version}", "name-mismatch")
    _check_tag(small, folder, filename, name, version)
    _check_record(small[f"{folder}/RECORD"], folder, hashes)
    _check_python(fields)
    package, entry = _entry_point(small[f"{folder}/entry_points.txt"], name)
    manifest = _manifest(small, package, hashes)
    requires = list(fields.get("requires_dist", []))
    base = base_environment() if environment is None else environment
    if unmet := missing(requires, base):
        rule = f"these are not in the base environment of the nodes: {', '.join(unmet)}"
        raise _broken("requires-dist", rule, "missing-dependencies")
    return BundleInfo(
        function=name,
        version=version,
        digest=hashlib.sha256(data).hexdigest(),
        package=package,
        entry=entry,
        manifest=manifest,
        summary=manifest.summary,
        requires=requires,
        size=len(data),
        files=len(hashes),
    )


def unpack_wheel(data: bytes, into: Path) -> None:
    """Write the files of an inspected wheel below `into`; files become 0644, folders 0755.

    Paths and sizes are checked again, and a file that exists is never overwritten. Raises InvalidField
    or OSError, and may leave some files: unpack into a fresh folder and rename it.
    """
    into.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _archive(data) as archive:
        budget = MAX_UNPACKED_BYTES
        for info in _entries(archive):
            path = into.joinpath(*PurePosixPath(info.filename).parts)
            _make_folders(path if info.is_dir() else path.parent, into)
            if info.is_dir():
                continue
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o644)
                for chunk in _content(archive, info, budget):
                    budget -= len(chunk)
                    file.write(chunk)


def _make_folders(path: Path, above: Path) -> None:
    for folder in [*reversed(path.relative_to(above).parents), path.relative_to(above)]:
        made = above / folder
        if not made.is_dir():
            made.mkdir()
            made.chmod(0o755)


@contextmanager
def _archive(data: bytes) -> Generator[zipfile.ZipFile]:
    if len(data) > MAX_BUNDLE_BYTES:
        raise _broken("", f"is {len(data)} bytes, over the limit of {MAX_BUNDLE_BYTES}", "too-large", code=413)
    if not data.startswith(b"PK\x03\x04"):
        raise _broken("", "is not a wheel: the zip signature is missing", "not-a-zip")
    # zipfile keeps an object for every entry, so they are counted before it sees them. The
    # signature may also occur by chance inside a file, hence the margin.
    if data.count(_ENTRY_SIGNATURE) > 2 * MAX_BUNDLE_FILES:
        raise _broken("", f"holds more than {MAX_BUNDLE_FILES} files", "too-many-files", code=413)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _UNREADABLE as error:
        raise _broken("", f"is not a whole zip archive: {error}", "not-a-zip") from error
    with archive:
        yield archive


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Every entry, once its name, kind and compression are known to be harmless."""
    infos = archive.infolist()
    if len(infos) > MAX_BUNDLE_FILES:
        raise _broken("", f"holds {len(infos)} files, over the limit of {MAX_BUNDLE_FILES}", "too-many-files", code=413)
    seen: set[str] = set()
    folders: set[str] = set()
    for info in infos:
        _check_path(info)
        # Names that differ only in case or composition are one file on some file systems.
        name = unicodedata.normalize("NFC", info.filename).casefold().rstrip("/")
        above = [str(parent) for parent in PurePosixPath(name).parents if parent.name]
        if name in seen or (name in folders and not info.is_dir()) or not seen.isdisjoint(above):
            raise _broken("", f"holds {info.filename[:200]!r} twice", "duplicate-path")
        folders.update(above)
        if info.is_dir():
            folders.add(name)
        else:
            seen.add(name)
        if info.flag_bits & 0x1 or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise _broken("", f"{info.filename[:200]!r} is encrypted or not stored or deflated", "unreadable-file")
    return infos


def _check_path(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    parts = name.removesuffix("/").split("/")
    if (
        name != info.filename
        or not name.isprintable()
        or "\\" in name
        or ":" in name
        or len(name) > 512
        or any(part in {"", ".", ".."} or len(part.encode()) > 255 for part in parts)
    ):
        raise _broken("", f"holds the unsafe path {name[:200]!r}", "unsafe-path")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR} or (info.is_dir() and info.file_size):
        raise _broken("", f"{name[:200]!r} is neither a file nor a folder", "unsafe-path")


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: int) -> Iterator[bytes]:
    """Yield a file in chunks; more than `budget` bytes are refused as soon as they are seen."""
    size = 0
    try:
        with archive.open(info) as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
                if size > budget:
                    rule = f"unpacks to more than {MAX_UNPACKED_BYTES} bytes"
                    raise _broken("", rule, "too-large-unpacked", code=413)
                yield chunk
    except _UNREADABLE as error:
        raise _broken("", f"{info.filename[:200]!r} is damaged: {error}", "not-a-zip") from error


def _read_all(archive: zipfile.ZipFile) -> tuple[dict[str, tuple[str, int]], dict[str, bytes]]:
    """Hash and size of every file, and the content of those that are read as text."""
    hashes: dict[str, tuple[str, int]] = {}
    small: dict[str, bytes] = {}
    budget = MAX_UNPACKED_BYTES
    for info in _entries(archive):
        if info.is_dir():
            continue
        above, _, base = info.filename.rpartition("/")
        keep = above.endswith(".dist-info") or base == "function.toml"
        digest, size, kept = hashlib.sha256(), 0, bytearray()
        for chunk in _content(archive, info, budget - size):
            digest.update(chunk)
            size += len(chunk)
            if keep and size <= _SMALL_FILE_BYTES:
                kept += chunk
        if keep and size > _SMALL_FILE_BYTES:
            raise _broken("", f"{info.filename[:200]!r} is over {_SMALL_FILE_BYTES} bytes", "too-large", code=413)
        budget -= size
        hashes[info.filename] = (base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode(), size)
        if keep:
            small[info.filename] = bytes(kept)
    return hashes, small


def _dist_info(names: Iterable[str]) -> str:
    tops = {name.split("/")[0] for name in names if "/" in name}
    found = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(found) != 1:
        raise _broken("dist-info", f"must be exactly one folder, not {len(found)}", "no-dist-info")
    if any(top.endswith(".data") for top in tops):
        raise _broken("", "must not have a .data folder: a bundle is a package and nothing else", "data-folder")
    for part in ("METADATA", "WHEEL", "RECORD", "entry_points.txt"):
        if f"{found[0]}/{part}" not in names:
            reason = "no-entry-point" if part == "entry_points.txt" else "no-dist-info"
            raise _broken("dist-info", f"must hold {part}", reason)
    return found[0]


def _metadata(small: Mapping[str, bytes], folder: str) -> RawMetadata:
    try:
        # Only the fields are read; a description may hold anything.
        return parse_email(small[f"{folder}/METADATA"])[0]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _broken("metadata", f"cannot be read: {error}", "bad-metadata") from error


def _check_tag(small: Mapping[str, bytes], folder: str, filename: str | None, name: str, version: str) -> None:
    lines = small[f"{folder}/WHEEL"].decode(errors="replace").splitlines()
    pairs = [(key.strip().lower(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
    if _TAG not in {value for key, value in pairs if key == "tag"} or ("root-is-purelib", "true") not in pairs:
        raise _broken("wheel", f"must be pure Python with the tag {_TAG}: nodes differ in machine", "wheel-tag")
    if filename is None:
        return
    try:
        told_name, told_version, _, _ = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise _broken("filename", str(error), "bad-filename") from error
    if told_name != name or str(told_version) != version:
        raise _broken("filename", f"{filename[:200]!r} is not a wheel of {name} {version}", "bad-filename")


def _check_record(record: bytes, folder: str, hashes: Mapping[str, tuple[str, int]]) -> None:
    listed: dict[str, tuple[str, int]] = {}
    outside = {f"{folder}/{name}" for name in _UNRECORDED}
    try:
        for row in csv.reader(record.decode().splitlines(), strict=True):
            if not row or row[0] in outside:
                continue
            path, digest, size = row
            if path in listed or not digest.startswith("sha256="):
                raise _broken("record", f"{path[:200]!r} needs one line with a sha256", "record-mismatch")
            listed[path] = (digest.removeprefix("sha256="), int(size))
    except (csv.Error, ValueError) as error:
        raise _broken("record", f"cannot be read: {error}", "record-mismatch") from error
    present = {path: found for path, found in hashes.items() if path not in outside}
    wrong = sorted(path for path in listed.keys() | present.keys() if listed.get(path) != present.get(path))
    if wrong:
        raise _broken("record", f"does not fit the archive at {', '.join(wrong)[:300]}", "record-mismatch")


def _check_python(fields: RawMetadata) -> None:
    wanted = fields.get("requires_python", "")
    here = ".".join(map(str, sys.version_info[:3]))
    try:
        fits = SpecifierSet(wanted).contains(here, prereleases=True)
    except InvalidSpecifier as error:
        raise _broken("requires-python", f"cannot be read: {error}", "bad-metadata") from error
    if not fits:
        raise _broken("requires-python", f"asks for Python {wanted}, and nodes run {here}", "python-version")


def _entry_point(text: bytes, name: str) -> tuple[str, str]:
    """The package and the entry `package:attr` of the only function."""
    parser = configparser.RawConfigParser(delimiters=("=",), default_section="\0", allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are case-sensitive
    try:
        parser.read_string(text.decode())
    except (configparser.Error, ValueError) as error:
        raise _broken("entry-points", f"cannot be read: {error}", "no-entry-point") from error
    entries = dict(parser[ENTRY_POINT_GROUP]) if ENTRY_POINT_GROUP in parser else {}
    if not entries:
        raise _broken("entry-points", f"must have one entry in group {ENTRY_POINT_GROUP}", "no-entry-point")
    if len(entries) > 1:
        rule = f"must have one entry in group {ENTRY_POINT_GROUP}, not {len(entries)}"
        raise _broken("entry-points", rule, "many-entry-points")
    ((key, value),) = entries.items()
    if key != name:
        raise _broken("entry-points", f"the entry must be named {name}, not {key[:63]!r}", "name-mismatch")
    found = _OBJECT.fullmatch((value or "").strip())
    if found is None:
        raise _broken("entry-points", "the entry must be package:attribute", "bad-entry-point")
    return found[1], found[0]


def _manifest(small: Mapping[str, bytes], package: str, names: Iterable[str]) -> Manifest:
    tops = {name.split("/")[0].removesuffix(".py") for name in names}
    if hidden := sorted(tops & (_OURS | sys.stdlib_module_names)):
        raise _broken("", f"{hidden[0]} would hide a module of the node", "reserved-name")
    if f"{package}/__init__.py" not in names:
        raise _broken("entry-points", f"the package {package} is not in the wheel", "no-package")
    text = small.get(f"{package}/function.toml")
    if text is None:
        raise _broken("manifest", f"{package}/function.toml is not in the wheel", "no-manifest")
    try:
        return read_manifest(text)
    except (InvalidField, RecursionError) as error:
        raise _broken("manifest", str(error), "bad-manifest") from error
