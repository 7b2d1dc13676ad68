"""Bundles that a scenario deploys: wheels made in memory, so that no build tool is needed.

All of them wait and do nothing else, so what is measured is the network. Some are broken on purpose.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from string import Template

from contracts.functions import ENTRY_POINT_GROUP

_WHEN = (2020, 1, 1, 0, 0, 0)
_CODE = Template('''\
"""Wait, then say for how long."""

import asyncio
from typing import Annotated

from runtime.sdk import Context, Meta, Params, Report, monotonic_ns

$at_import


class NapParams(Params, frozen=True):
    """How long."""

    ms: Annotated[int, Meta(ge=0, le=60000, description="milliseconds to wait")] = $ms


class NapReport(Report, frozen=True):
    """How long it was."""

    waited_ns: int


async def measure(params: NapParams, ctx: Context) -> NapReport:
    """Wait."""
    $in_measure
    began = monotonic_ns()
    await asyncio.sleep(params.ms / 1000)
    return NapReport(waited_ns=monotonic_ns() - began)
''')
_MANIFEST = Template("""\
summary = "Wait, then say for how long."

[limits]
concurrency = $concurrency
timeout = 65.0
memory_mb = 256

[self_test]
ms = 1
""")

CRASHES_AT_IMPORT = 'raise RuntimeError("broken on purpose: cannot be imported")'
FAILS_SELF_TEST = 'raise RuntimeError("broken on purpose: fails its self-test")'
FAULTS = 'if params.ms != 1:\n        raise RuntimeError("broken on purpose: answers faults")'


def nap(
    name: str,
    version: str = "1.0.0",
    *,
    ms: int = 50,
    concurrency: int = 8,
    at_import: str = "",
    in_measure: str = "",
) -> bytes:
    """The wheel of a function that waits `ms` unless it is told otherwise. The same input gives the same bytes."""
    package = name.replace("-", "_")
    info = f"{package}-{version}.dist-info"
    code = _CODE.substitute(ms=ms, at_import=at_import, in_measure=in_measure)
    content = {
        f"{package}/__init__.py": code,
        f"{package}/function.toml": _MANIFEST.substitute(concurrency=concurrency),
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nRequires-Python: >=3.11\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: mmn\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{ENTRY_POINT_GROUP}]\n{name} = {package}:measure\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text.encode())}" for path, text in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path, _WHEN), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
