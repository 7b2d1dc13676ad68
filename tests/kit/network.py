"""A whole network by `mmn up`, as a person starts it, for tests that look at it from outside."""

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import nkeys
import pytest

from contracts import signatures
from contracts.access import tokens
from tests.kit.authors import headers
from tests.kit.eventually import eventually_sync

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0
STOP_S = 45.0
MMN = (sys.executable, "-P", "-m", "gateway.cli")


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed on standard output."""
        assert self.code == 0, self
        return json.loads(self.out)


class ApiClient(httpx.Client):
    """The gateway's API as the admin; the password is shown again when the token has ended."""

    def __init__(self, url: str, user: str, password: str, *, ca: str | None = None) -> None:
        verify = ssl.create_default_context(cafile=ca) if ca else True
        super().__init__(base_url=f"{url}/api/v1", timeout=30.0, trust_env=False, verify=verify)
        self.password = password
        self.user = user
        self.log_in()

    def log_in(self) -> None:
        told = self.post("/auth/token", auth=(self.user, self.password))
        assert told.status_code == 200, told.text
        self.bearer = Bearer(self, told.json()["access_token"])
        self.auth = self.bearer


class Bearer(httpx.Auth):
    """An access token, and the password's again when it has ended: a run of tests lasts longer than a token."""

    requires_response_body = True

    def __init__(self, client: ApiClient, token: str) -> None:
        self._client = client
        self.token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if "Authorization" in request.headers:
            yield request
            return
        request.headers["Authorization"] = f"Bearer {self.token}"
        answer = yield request
        if answer.status_code == 401:
            again = yield self._client.build_request("POST", "/auth/token", headers=self._basic())
            self.token = again.json()["access_token"]
            request.headers["Authorization"] = f"Bearer {self.token}"
            yield request

    def _basic(self) -> dict[str, str]:
        pair = f"{self._client.user}:{self._client.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


class RunningNetwork:
    """`mmn up` as a process. `stack()` reads stack.json anew, since pids change after restarts.

    `settings` are variables for its services, such as MMN_ANCHOR_CLIENT_RATE.
    """

    def __init__(self, folder: Path, *options: str, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.console = folder.with_name(f"{folder.name}-console.log")
        self._options = options
        self._settings = dict(settings or {})
        self._api: ApiClient | None = None
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.console.open("ab") as console:
            process = subprocess.Popen(
                [*MMN, "up", "--dir", str(self.folder), "--port", "0", *self._options],
                env=environment(self.folder) | self._settings,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

        stack = self.folder / "stack.json"
        try:
            eventually_sync(lambda: stack.exists() or process.poll() is not None, within=START_S)
            assert process.poll() is None, f"mmn up ended: {self.console.read_text()}"
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def stack(self) -> dict[str, Any]:
        """What stack.json tells now."""
        told: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        return told

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return str(self.stack()["gateway"]["url"])

    @property
    def api(self) -> ApiClient:
        """A client of the gateway's API, logged in."""
        if self._api is None:
            told = self.stack()
            password = Path(told["admin"]["password_file"]).read_text().strip()
            gateway = told["gateway"]
            self._api = ApiClient(gateway["url"], told["admin"]["user"], password, ca=gateway["ca"])
        return self._api

    def pid(self, role: str, name: str | None = None) -> int | None:
        """The pid of a process now; None while it is down. Runtimes and Anchors have names: `n1`, `anchor1`."""
        told = self.stack()["pids"][role]
        if role == "anchor":
            name = name or "anchor1"
        if name is not None:
            pid: int | None = told[name]
            return pid
        return int(told[0]) if told else None

    @property
    def author(self) -> str:
        """The public key of the network's own author."""
        return tokens.public(self._author())

    def _author(self) -> nkeys.KeyPair:
        return signatures.author_of((self.folder / "author.key").read_text())

    def signed(self, wheel: bytes) -> dict[str, str]:
        """The headers of a wheel's upload, signed by the network's own author."""
        return headers(wheel, self._author())

    def mmn(self, *arguments: str, text: str | None = None, within: float = 60.0) -> Ran:
        """Run one command line against this network."""
        return mmn(*arguments, state=self.folder, text=text, within=within)

    def kill(self, role: str, node: str | None = None) -> int:
        """SIGKILL one process; returns the pid it had."""
        pid = self.pid(role, node)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> int:
        """SIGTERM, as a service manager stops it. Returns the exit code."""
        if self._api is not None:
            self._api.close()
            self._api = None
        self.process.terminate()
        return self.process.wait(STOP_S)

    def start_again(self) -> None:
        """Start it on the same folder, after it was stopped."""
        assert self.process.poll() is not None
        self.process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self._api is not None:
                self._api.close()


def environment(state: Path) -> dict[str, str]:
    """The environment of a command under test: this machine's, with a state directory of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MMN_")}
    # Tests send nothing beyond loopback, and the machine's name server may be anywhere.
    # Nor is a key used that somebody has here.
    own = {"MMN_STATE": str(state), "MMN_DEMO_SYSTEM_RESOLVER": "0", "XDG_CONFIG_HOME": str(state / "config")}
    return inherited | own | {"COLUMNS": "200", "NO_COLOR": "1"}


def mmn(
    *arguments: str,
    state: Path,
    text: str | None = None,
    within: float = 60.0,
    through: Sequence[str] = (),
    **env: str,
) -> Ran:
    """Run one `mmn` command line to its end; `through` is a command that runs it, such as setpriv."""
    done = subprocess.run(
        [*through, *MMN, *arguments],
        env=environment(state) | env,
        input=text if text is not None else "",
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def processes_of(folder: Path) -> dict[int, str]:
    """Every process that was started for a state directory: it is named in its command, environment or folder."""
    needle = os.fsencode(folder)
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if not command:
                continue  # a zombie holds nothing any more
            traces = command + (entry / "environ").read_bytes() + os.fsencode((entry / "cwd").readlink())
        except OSError:
            continue
        if needle in traces:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def wait_until_gone(folder: Path, *, within: float = 10.0) -> None:
    """Wait until no process of a state directory is left."""
    eventually_sync(lambda: not processes_of(folder), within=within)


def finished(api: ApiClient, job: str, *, within: float = 30.0) -> dict[str, Any]:
    """Wait for a job's result through the API."""
    told = api.get(f"/jobs/{job}/result", params={"wait": within})
    assert told.status_code == 200, told.text
    result: dict[str, Any] = told.json()
    return result


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    """One network with two nodes for the whole run. Tests may deploy and run, never kill or stop."""
    with RunningNetwork(tmp_path_factory.mktemp("network") / "net", "--nodes", "2") as running:
        for name in ("echo", "latency-ping"):
            deployed = running.mmn("deploy", str(ROOT / "functions" / name))
            assert deployed.code == 0, deployed
        yield running


@pytest.fixture
def own_network(tmp_path: Path) -> Iterator[RunningNetwork]:
    """A network with one node and the function echo, to be killed and stopped as a test likes."""
    with RunningNetwork(tmp_path / "net", "--nodes", "1") as running:
        deployed = running.mmn("deploy", str(ROOT / "functions" / "echo"))
        assert deployed.code == 0, deployed
        yield running
