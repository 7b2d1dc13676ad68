"""A node under test: `python -m runtime` as a process, bundles deployed to it, and what it announces."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from contracts import codec, streams, subjects
from contracts.access import roles
from contracts.bundles import inspect_wheel
from contracts.bus import Bus
from contracts.functions import Deployment
from contracts.jobs import Call, CallReply, new_job_id
from contracts.modules import Announcement, WorkerEvent
from contracts.results import Result
from contracts.service import raise_refusal
from tests.kit.authors import TRUSTED, uploaded
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer

ROOT = Path(__file__).resolve().parents[2]
SECOND = 1_000_000_000


class Node:
    """One runtime process. `stop` and `kill` end it; `close` makes sure of it."""

    def __init__(self, server: NatsServer, node: str = "n1", **settings: str) -> None:
        self.node = node
        self.server = server
        self.state_dir = server.files.folder / f"state-{node}"
        self.log = server.files.folder / f"runtime-{node}.log"
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    def environment(self) -> dict[str, str]:
        """The environment it is started with; the secret in it must never be seen in a worker."""
        files = self.server.files
        return {
            "PATH": os.environ.get("PATH", ""),
            "MMN_NATS_URL": self.server.url,
            **({"MMN_NATS_CA": str(self.server.ca)} if self.server.ca else {}),
            "MMN_RUNTIME_NATS_CREDS": str(files.credentials(roles.RUNTIME, self.node, file=f"runtime-{self.node}")),
            "MMN_RUNTIME_NODE": self.node,
            "MMN_RUNTIME_LABELS": '{"site":"lab"}',
            "MMN_RUNTIME_ALLOW_TARGETS": '["127.0.0.0/8","::1/128"]',
            "MMN_RUNTIME_SIGNING_KEY": str(files.node_key(self.node)),
            "MMN_RUNTIME_MEASURE_ACCOUNT": files.account_key("MEASURE"),
            "MMN_RUNTIME_STATE_DIR": str(self.state_dir),
            "MMN_RUNTIME_TRUSTED_AUTHORS": json.dumps([TRUSTED]),
            "A_SECRET": "of the runtime",
            **{f"MMN_RUNTIME_{name.upper()}": value for name, value in self._settings.items()},
        }

    def command(self) -> Sequence[str]:
        """What it is started with."""
        return (sys.executable, "-m", "runtime")

    async def start(self) -> None:
        """Start it. It is there when it answers as a micro service."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command(),
                cwd=ROOT,
                env=self.environment(),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def stop(self, *, within: float = 20.0) -> int:
        """SIGTERM. Returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def close(self) -> None:
        """End it if it runs."""
        if self._process is None or self._process.returncode is not None:
            return
        try:
            await self.stop()
        except TimeoutError:
            await self.kill()

    def processes(self) -> list[int]:
        """The zygote and every worker, found by their parents."""
        zygotes = children(self.pid)
        return [*zygotes, *(worker for zygote in zygotes for worker in children(zygote))]


def children(pid: int) -> list[int]:
    """Child processes of a process, from /proc."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


class Announcements:
    """Everything that runtimes announced since `open`, in order."""

    def __init__(self) -> None:
        self.all: list[Announcement] = []

    @classmethod
    async def open(cls, anchor: Bus) -> "Announcements":
        self = cls()

        async def take(msg: Msg) -> None:
            self.all.append(codec.decode(msg.data, Announcement))

        await anchor.nc.subscribe(subjects.ANNOUNCEMENTS, cb=take)
        await anchor.settle()
        return self

    def of(self, event: WorkerEvent, function: str, **fields: str) -> list[Announcement]:
        """Those of one kind, for one function, and with these fields."""
        return [
            found
            for found in self.all
            if found.event == event
            and found.function == function
            and all(getattr(found, name) == value for name, value in fields.items())
        ]

    async def next(
        self, event: WorkerEvent, function: str, *, count: int = 1, within: float = 20.0, **fields: str
    ) -> Announcement:
        """Wait for the `count`-th of them."""

        def enough() -> bool:
            return len(self.of(event, function, **fields)) >= count

        try:
            await eventually(enough, within=within)
        except AssertionError as error:
            seen = "\n".join(f"{a.event} {a.function} {a.version} {a.instance} {a.reason}" for a in self.all)
            raise AssertionError(f"no {event} of {function}; announced:\n{seen}") from error
        return self.of(event, function, **fields)[count - 1]


async def deploy(gateway: Bus, wheel: bytes, **wish: Any) -> Deployment:
    """Do what a gateway does with an upload by a trusted author: object store, then the deployment."""
    info = inspect_wheel(wheel)
    store = await gateway.js.object_store(streams.OBJECTS_BUNDLES)
    try:
        await store.get_info(info.digest)
    except NotFoundError:
        await store.put(info.digest, wheel)
    signed = {"uploads": uploaded(info.digest), **wish}
    deployment = Deployment(
        function=info.function, version=info.version, digest=info.digest, manifest=info.manifest, **signed
    )
    await put_deployment(gateway, deployment)
    return deployment


async def put_deployment(gateway: Bus, deployment: Deployment) -> None:
    """Write a deployment to the bucket."""
    bucket = await gateway.js.key_value(streams.BUCKET_FUNCTIONS)
    await bucket.put(deployment.function, codec.encode(deployment, codec.JSON))


async def call(
    anchor: Bus,
    function: str,
    instance: str,
    params: Mapping[str, Any] | None = None,
    *,
    job: str | None = None,
    time_left: float = 10.0,
    within: float = 15.0,
) -> tuple[CallReply, dict[str, str]]:
    """One directed call, as an Anchor makes it. Returns the reply and its headers. Raises Refused."""
    body = Call(job=job or new_job_id(), params=dict(params or {}), time_left_ns=int(time_left * SECOND))
    msg = await anchor.nc.request(subjects.call(function, instance), codec.encode(body, codec.JSON), timeout=within)
    raise_refusal(msg.headers)
    return codec.decode(msg.data, CallReply), dict(msg.headers or {})


async def stored_result(gateway: Bus, job: str) -> Result:
    """The one result of a job, from the stream."""
    msg = await gateway.js.get_last_msg(streams.RESULTS, subjects.out_any(job))
    return codec.decode(msg.data or b"", Result, limit=1024 * 1024)


async def discovered(anchor: Bus, function: str, instance: str) -> dict[str, Any]:
    """The `$SRV.INFO` of one instance."""
    msg = await anchor.nc.request(subjects.service("INFO", function, instance), b"", timeout=2)
    info: dict[str, Any] = json.loads(msg.data)
    return info


def send_signal(pid: int, number: signal.Signals) -> None:
    """Signal a process that the test caused."""
    os.kill(pid, number)
