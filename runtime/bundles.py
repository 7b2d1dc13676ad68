"""Bundles on this node: fetched by digest, signature and content checked again, unpacked once, read-only from then on.

    <state>/bundles/<digest>/bundle.json     what inspection found
    <state>/bundles/<digest>/code/           the unpacked wheel, with bytecode

A folder appears under its digest by one rename, so what is there is whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import nats.errors
import structlog
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError, ObjectDeletedError, ObjectNotFoundError

from contracts import codec, streams
from contracts.bundles import BundleInfo, inspect_wheel, unpack_wheel
from contracts.bus import Bus
from contracts.errors import MmnError
from contracts.functions import DIGEST, MAX_BUNDLE_BYTES, Deployment
from contracts.results import Provenance
from runtime.authors import Admitted, Authors, NoList, Untrusted

log = structlog.get_logger(__name__)

_TRIES = 3
_FETCH_S = 20.0
_PAUSE_S = 0.5
_COMPILE_S = 60.0
_INFO = "bundle.json"
_CODE = "code"


class NoBundle(MmnError):
    """The bundle cannot be had, or is not what its deployment says. `for_good`: asking again does not help."""

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.for_good = for_good


class Bundle(msgspec.Struct, frozen=True):
    """An unpacked bundle: what inspection found, the folder of its code, and whose it is, as verified here.

    `own`: its author is trusted on this node; else it is a third party's.
    """

    info: BundleInfo
    code: Path
    provenance: Provenance | None = None
    own: bool = False


class Kept(NamedTuple):
    """An unpacked bundle on disk. `since` orders those of one function by when they came."""

    digest: str
    function: str
    since: float


def surplus(kept: Iterable[Kept], wanted: Collection[str], functions: Collection[str]) -> list[str]:
    """Digests to remove: all that neither runs nor is deployed (`wanted`), but the newest other one of each
    function that is deployed, so that a rollback needs no download.
    """
    newest_first = sorted((one for one in kept if one.digest not in wanted), key=lambda one: one.since, reverse=True)
    previous: dict[str, str] = {}
    for one in newest_first:
        if one.function in functions:
            previous.setdefault(one.function, one.digest)
    return [one.digest for one in newest_first if previous.get(one.function) != one.digest]


class Bundles:
    """The bundles under one folder."""

    def __init__(self, bus: Bus, folder: Path, authors: Authors) -> None:
        self._bus = bus
        self._folder = folder
        self._authors = authors
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        folder.mkdir(parents=True, exist_ok=True)
        # Workers with users of their own read here, whatever the umask is.
        folder.chmod(0o755)
        for left in folder.glob(".*"):
            # Of a runtime that was killed at it.
            _remove(left)

    async def prune(self, wanted: Callable[[], Collection[str]], functions: Collection[str]) -> list[str]:
        """Remove what no longer serves (see `surplus`). Returns the digests that went.

        `wanted` is asked again before each one goes, since workers may be started meanwhile.
        """
        gone: list[str] = []
        for digest in surplus(await asyncio.to_thread(self._kept), wanted(), functions):
            async with self._locks[digest]:
                if digest in wanted():
                    continue
                grave = self._folder / f".{digest[:12]}.{secrets.token_hex(4)}"
                (self._folder / digest).rename(grave)
            await asyncio.to_thread(_remove, grave)
            gone.append(digest)
        if gone:
            log.info("bundles removed", digests=gone)
        return gone

    def _kept(self) -> list[Kept]:
        found: list[Kept] = []
        for folder in self._folder.iterdir():
            if not DIGEST.fullmatch(folder.name):
                continue
            try:
                bundle = self._present(folder.name)
            except MmnError:
                bundle = None
            # Without a description it is nobody's.
            function = bundle.info.function if bundle is not None else ""
            found.append(Kept(folder.name, function, folder.stat().st_mtime))
        return found

    async def get(self, deployment: Deployment) -> Bundle:
        """Return the bundle of a deployment, fetched if need be. Raises NoBundle.

        Its signature is verified each time, also when it lies here already: its author may be trusted no more. It is
        for the digest, and what is fetched must have that digest before anything is done with it.
        """
        digest = deployment.digest
        if not DIGEST.fullmatch(digest):
            raise NoBundle(f"not a digest: {digest[:80]!r}", for_good=True)
        admitted = self._admitted(deployment)
        async with self._locks[digest]:
            bundle = self._present(digest)
            if bundle is None:
                data = await self._fetch(digest)
                bundle = await self._unpack(digest, data)
        info = bundle.info
        if (info.function, info.version) != (deployment.function, deployment.version):
            found, wished = f"{info.function} {info.version}", f"{deployment.function} {deployment.version}"
            raise NoBundle(f"the bundle {digest[:12]} is {found}, not {wished}", for_good=True)
        return msgspec.structs.replace(bundle, provenance=admitted.provenance, own=admitted.own)

    def _admitted(self, deployment: Deployment) -> Admitted:
        try:
            return self._authors.admit(deployment)
        except Untrusted as error:
            raise NoBundle(str(error), for_good=True) from error
        except NoList as error:
            raise NoBundle(str(error)) from error

    def _present(self, digest: str) -> Bundle | None:
        folder = self._folder / digest
        try:
            info = codec.decode((folder / _INFO).read_bytes(), BundleInfo, at=_INFO)
        except FileNotFoundError:
            return None
        return Bundle(info, folder / _CODE)

    async def _fetch(self, digest: str) -> bytes:
        """Read the wheel from the object store. Raises NoBundle."""
        for attempt in range(1, _TRIES + 1):
            try:
                # The library's read has no time limit of its own.
                async with asyncio.timeout(_FETCH_S):
                    store = await self._bus.js.object_store(streams.OBJECTS_BUNDLES)
                    size = (await store.get_info(digest)).size or 0
                    if size > MAX_BUNDLE_BYTES:
                        raise NoBundle(f"the bundle has {size} bytes, over the limit", for_good=True)
                    data = (await store.get(digest)).data or b""
            except (ObjectNotFoundError, ObjectDeletedError, NotFoundError) as error:
                raise NoBundle(f"the bundle {digest[:12]} is not in the store") from error
            except (nats.errors.Error, JetStreamError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                log.info("bundle not fetched", digest=digest, attempt=attempt, reason=reason)
                if attempt == _TRIES:
                    raise NoBundle(f"the bundle {digest[:12]} could not be fetched: {reason}") from error
                await asyncio.sleep(_PAUSE_S * attempt)
                continue
            # What the store says of its content is not what we were asked for.
            if hashlib.sha256(data).hexdigest() != digest:
                raise NoBundle(f"the bundle {digest[:12]} has another content than its name says", for_good=True)
            return data
        raise AssertionError("unreachable")

    async def _unpack(self, digest: str, data: bytes) -> Bundle:
        partial = self._folder / f".{digest[:12]}.{secrets.token_hex(4)}"
        try:
            info = await asyncio.to_thread(_write, data, partial)
            await _compile(partial / _CODE)
            await asyncio.to_thread(_settle, partial, self._folder / digest)
        except MmnError as error:
            raise NoBundle(f"the bundle {digest[:12]} is not acceptable: {error}", for_good=True) from error
        except OSError as error:
            raise NoBundle(f"the bundle {digest[:12]} cannot be unpacked: {error}") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
        log.info("bundle unpacked", function=info.function, version=info.version, digest=digest)
        return Bundle(info, self._folder / digest / _CODE)


def _write(data: bytes, folder: Path) -> BundleInfo:
    info = inspect_wheel(data)
    folder.mkdir()
    unpack_wheel(data, folder / _CODE)
    (folder / _INFO).write_bytes(codec.encode(info, codec.JSON))
    return info


async def _compile(folder: Path) -> None:
    """Write bytecode, once for all workers. In another process, since compiling hostile code can crash one."""
    compiler = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-m", "compileall", "-q", "-q", str(folder)),
        env={},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_COMPILE_S):
            await compiler.wait()
    except TimeoutError:
        log.warning("bytecode not compiled", folder=str(folder))
    finally:
        if compiler.returncode is None:
            compiler.kill()
            await compiler.wait()


def _remove(folder: Path) -> None:
    """Remove an unpacked bundle. Its folders are read-only."""
    for above, folders, _ in os.walk(folder):
        for name in folders:
            (Path(above) / name).chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


def _settle(partial: Path, final: Path) -> None:
    """Make everything read-only and give the folder its name."""
    for above, folders, files in os.walk(partial, topdown=False):
        for name in files:
            (Path(above) / name).chmod(0o444)
        for name in folders:
            (Path(above) / name).chmod(0o555)
    partial.chmod(0o755)
    partial.rename(final)
