"""The network of compose.yaml in containers, by podman, on machines that can do that.

`python -m tests.kit.containers` says whether this one can, and makes the base image if it is missing:
pulled from a registry, else built from Debian packages. Images stay, so that the next run is short.
"""

import functools
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.kit.network import ApiClient

ROOT = Path(__file__).resolve().parents[2]
BASE = "python:3.11-slim-bookworm"
IMAGE = "mmn-test"
SETTINGS = Path(__file__).with_name("containers.conf")
SERVICES = ("nats", "authority", "anchor", "gateway", "n1", "n2")
ONE_SHOTS = ("provision", "streams")

PULL_S = 300.0
DEBOOTSTRAP_S = 600.0
BUILD_S = 600.0
UP_S = 180.0
DOWN_S = 120.0
_MIRRORS = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "NPM_CONFIG_REGISTRY")
_TRUST = Path("/etc/ssl/certs/ca-certificates.crt")


class CannotUse(Exception):
    """This machine runs no containers. The message says why."""


def _run(
    command: Sequence[str], *, within: float, env: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command that must end in time: tools for containers are known to wait for ever."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env or environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MMN_")}


@functools.cache
def _settings() -> dict[str, str]:
    """What podman needs here to start a container: nothing, or our settings. Raises CannotUse."""
    told = ""
    for extra in ({}, {"CONTAINERS_CONF": str(SETTINGS)}):
        done = _run(["podman", "run", "--rm", BASE, "true"], within=60, env=_inherited() | extra, check=False)
        if done.returncode == 0:
            return extra
        told = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}"
    raise CannotUse(f"podman cannot run a container here: {told}")


def environment() -> dict[str, str]:
    """The environment for podman and podman-compose."""
    return _inherited() | _settings()


def podman(*arguments: str, within: float = 60.0, check: bool = True) -> str:
    """Run one podman command. Returns what it printed."""
    return _run(["podman", *arguments], within=within, check=check).stdout


def prepare(*, make_base: bool) -> None:
    """Make sure that containers can be run here; with `make_base` also get what that takes. Raises CannotUse."""
    for tool in ("podman", "podman-compose"):
        if shutil.which(tool) is None:
            raise CannotUse(f"{tool} is not installed")
    if _run(["podman", "image", "exists", BASE], within=30, env=_inherited(), check=False).returncode != 0:
        if not make_base:
            raise CannotUse(f"there is no image {BASE}; get it by: python -m tests.kit.containers")
        _get_base()
    _settings()
    if make_base:
        _try_registry()


def _get_base() -> None:
    if _run(["podman", "pull", "--quiet", BASE], within=PULL_S, env=_inherited(), check=False).returncode == 0:
        return
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise CannotUse(f"{BASE} cannot be pulled, and to make its like needs root and debootstrap")
    # Debian's own Python of the same version takes the place of the official image's.
    with tempfile.TemporaryDirectory(prefix="mmn-base-") as folder:
        packages = "--include=python3,python3-pip,python3-venv,ca-certificates"
        made = _run(
            ["debootstrap", "--variant=minbase", packages, "bookworm", f"{folder}/root"],
            within=DEBOOTSTRAP_S,
            env=_inherited(),
            check=False,
        )
        if made.returncode != 0:
            raise CannotUse(f"debootstrap failed: {made.stdout[-300:]}")
        for command in (
            ["tar", "-C", f"{folder}/root", "-cf", f"{folder}/root.tar", "."],
            ["podman", "import", "--change", 'CMD ["python3"]', f"{folder}/root.tar", BASE],
        ):
            _run(command, within=300, env=_inherited())


def _try_registry() -> None:
    """A build fetches packages, and a container may have no way to where its host gets them."""
    options = [f"--volume={_trusted()}:{_TRUST}:ro", f"--env=PIP_CERT={_TRUST}"] if _trusted() else []
    options += [f"--env={name}" for name in _MIRRORS if name in os.environ]
    fetch = ("python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "/tmp/fetched", "packaging")
    done = _run(["podman", "run", "--rm", *options, BASE, *fetch], within=120, check=False)
    if done.returncode != 0:
        raise CannotUse(f"a container here cannot reach the package registry: {done.stderr.strip()[-300:]}")


def _trusted() -> Path | None:
    """The file of authorities this machine trusts, where it is told to trust others than usual."""
    file = Path(os.environ.get("SSL_CERT_FILE", ""))
    return file if file.is_file() else None


def build_options() -> list[str]:
    """Let a build fetch from where this machine does, and trust whom it trusts."""
    options = [f"--build-arg={name}={os.environ[name]}" for name in _MIRRORS if name in os.environ]
    if trusted := _trusted():
        names = ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
        options += [f"--volume={trusted}:{_TRUST}:ro", *(f"--build-arg={name}={_TRUST}" for name in names)]
    return options


class ComposeNetwork:
    """The services of compose.yaml as a project of their own. Leaves nothing behind but the image."""

    def __init__(self) -> None:
        self.project = f"mmntest{os.getpid()}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, within: float, options: Sequence[str] = ()) -> str:
        """Run one podman-compose command of this project."""
        env = environment() | {"MMN_IMAGE": IMAGE, "MMN_PORT": str(self.port)}
        return _run(["podman-compose", "-p", self.project, *options, *arguments], within=within, env=env).stdout

    def build(self) -> None:
        """Build the image."""
        options = build_options()
        through = [f"--podman-build-args={shlex.join(options)}"] if options else []
        self.compose("build", "provision", within=BUILD_S, options=through)

    def up(self) -> None:
        """Start everything, detached."""
        self.compose("up", "-d", "--no-build", within=UP_S)

    def down(self, *options: str) -> None:
        """Stop and remove all containers; `-v` also the volumes."""
        self.compose("down", *options, within=DOWN_S)

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"{self.project}_{service}_1"

    def execute(self, service: str, *command: str, check: bool = True) -> str:
        """Run a command inside a container. Returns what it printed."""
        return podman("exec", self.container(service), *command, check=check)

    def inspect(self, service: str) -> dict[str, Any]:
        """What podman knows of a service's container."""
        told: list[dict[str, Any]] = json.loads(podman("inspect", self.container(service)))
        return told[0]

    def logs(self) -> str:
        """The end of every service's log."""
        names = (*ONE_SHOTS, *SERVICES)
        tails = {
            name: _run(["podman", "logs", "--tail", "15", self.container(name)], within=20, check=False)
            for name in names
        }
        return "\n".join(f"--- {name}\n{tail.stdout}{tail.stderr}" for name, tail in tails.items())

    def password(self) -> str:
        """The first user's password, read as the documentation says."""
        return self.execute("gateway", "cat", "/identity/password").strip()

    def author_key(self) -> str:
        """The key of the network's own author, from the volume that only the command line is given."""
        volume = f"{self.project}_id-author:/author:ro"
        return podman("run", "--rm", "--user", "10001", "--volume", volume, IMAGE, "cat", "/author/author.key")

    def api(self) -> ApiClient:
        """A client of the API, logged in; close it."""
        return ApiClient(self.url, "admin", self.password())

    def __enter__(self) -> Self:
        try:
            self.build()
            self.up()
        except BaseException:
            self.down("-v", "-t", "1")
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.down("-v", "-t", "1")


def main() -> int:
    """Exit status 0 when the tests in containers can be run."""
    try:
        prepare(make_base=True)
    except (CannotUse, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
