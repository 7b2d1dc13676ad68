"""Wheels in memory: a valid one of any files in a millisecond, without a build tool.

`build_wheel("echo", "1.0.0", code="...")` for a package of one module, `wheel_of(folder)` for a
folder with a pyproject.toml, such as `tests/bundles/exits` or `functions/echo`.
"""

import base64
import hashlib
import io
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from contracts.functions import ENTRY_POINT_GROUP

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ROOT / "tests" / "bundles"
FUNCTIONS = ROOT / "functions"

MANIFEST = 'summary = "A bundle for tests."\n'
"""The shortest function.toml there is."""

_WHEN = (2020, 1, 1, 0, 0, 0)


def build_wheel(
    name: str,
    version: str = "1.0.0",
    *,
    code: str = "",
    files: Mapping[str, str | bytes] | None = None,
    manifest: str = MANIFEST,
    entry: str | None = None,
    requires: Sequence[str] = (),
) -> bytes:
    """Make a wheel named like its function. The same input gives the same bytes.

    `code` becomes the package's `__init__.py`; `files` are further files by their path in the
    wheel; `entry` defaults to `measure` in the package.
    """
    package = name.replace("-", "_")
    info = f"{package}-{version}.dist-info"
    content: dict[str, str | bytes] = {
        f"{package}/__init__.py": code,
        f"{package}/function.toml": manifest,
        **(files or {}),
        f"{info}/METADATA": _metadata(name, version, requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{ENTRY_POINT_GROUP}]\n{name} = {entry or f'{package}:measure'}\n",
    }
    record: list[str] = []
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in content.items():
            data = text.encode() if isinstance(text, str) else text
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}")
            archive.writestr(zipfile.ZipInfo(path, _WHEN), data, zipfile.ZIP_DEFLATED)
        record.append(f"{info}/RECORD,,")
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", _WHEN), "\n".join(record) + "\n", zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _metadata(name: str, version: str, requires: Sequence[str]) -> str:
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.11"]
    return "\n".join([*lines, *(f"Requires-Dist: {requirement}" for requirement in requires)]) + "\n"


def wheel_of(folder: Path, *, version: str | None = None, extra: str = "", manifest: str = "") -> bytes:
    """Make the wheel of a bundle folder. `version` makes another version of it, `extra` is code appended to it.

    `manifest` is put before what its function.toml says.
    """
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    ((name, entry),) = project["entry-points"][ENTRY_POINT_GROUP].items()
    package = entry.partition(":")[0].partition(".")[0]
    files: dict[str, str | bytes] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    first = f"{package}/__init__.py"
    files[first] = (folder / first).read_bytes() + extra.encode()
    told = f"{package}/function.toml"
    files[told] = manifest.encode() + (folder / told).read_bytes()
    return build_wheel(
        name,
        version or project["version"],
        files=files,
        entry=entry,
        requires=project.get("dependencies", ()),
    )
