"""A wheel from a bundle folder, made by uv with what is installed: no download, no isolation."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import uv

from contracts.functions import MAX_BUNDLE_BYTES
from gateway.cli import settings
from gateway.cli.exits import Exit, Stop

BUILD_S = 120.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


async def wheel(path: Path) -> tuple[str, bytes]:
    """Name and bytes of a wheel: read when `path` is one, built when it is a folder. Raises Stop."""
    return await _built(path) if _is_folder(path) else (path.name, read(path))


async def _built(folder: Path) -> tuple[str, bytes]:
    with TemporaryDirectory(prefix="mmn-build-") as out:
        command = [
            uv.find_uv_bin(),
            *("build", "--wheel", "--no-build-isolation", "--offline", "--no-config", "--quiet"),
            *("--python", sys.executable, "--out-dir", out, str(folder)),
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=settings.child_environment({"PATH": settings.search_path()}),
        )
        try:
            async with asyncio.timeout(BUILD_S):
                told, _ = await process.communicate()
        except TimeoutError:
            raise Stop(Exit.BAD_INPUT, "the bundle cannot be built", f"not done after {BUILD_S:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            text = _COLOUR.sub("", told.decode(errors="replace")).strip()
            raise Stop(Exit.BAD_INPUT, "the bundle cannot be built", f"{folder}\n{text[-2000:]}")
        return _only_wheel(folder, Path(out))


def _is_folder(path: Path) -> bool:
    """Tell a bundle folder from a wheel. Raises Stop for what is neither."""
    if path.is_dir():
        if not (path / "pyproject.toml").is_file():
            raise Stop(Exit.BAD_INPUT, "nothing to deploy", f"{path} has no pyproject.toml, so it is no bundle folder")
        return True
    if path.suffix != ".whl" or not path.exists():
        what = "is not a wheel (.whl)" if path.exists() else "does not exist"
        raise Stop(Exit.BAD_INPUT, "nothing to deploy", f"{path} {what}; give a bundle folder or a wheel")
    return False


def _only_wheel(folder: Path, out: Path) -> tuple[str, bytes]:
    made = sorted(out.glob("*.whl"))
    if len(made) != 1:
        raise Stop(Exit.BAD_INPUT, "the bundle cannot be built", f"{folder}: {len(made)} wheels came out, not one")
    return made[0].name, read(made[0])


def read(path: Path) -> bytes:
    """The bytes of a wheel. Raises Stop."""
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            # In the gateway's words, without sending all of it there.
            raise Stop(Exit.BAD_INPUT, f"bundle: is {size} bytes, over the limit of {MAX_BUNDLE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise Stop(Exit.BAD_INPUT, "the wheel cannot be read", f"{path}: {error.strerror}") from error
