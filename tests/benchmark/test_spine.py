"""What the spine costs: submit, queue, call, result, beside bare requests."""

import asyncio
import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.errors
import uvloop
from nats.aio.client import Client as Library
from nats.aio.msg import Msg

from contracts import bus, clock, codec, streams, subjects
from contracts.access import roles
from contracts.access.provision import NetworkFiles
from contracts.errors import Refused
from contracts.jobs import JobReceipt, JobRequest
from contracts.modules import Announcement
from contracts.service import raise_refusal
from contracts.tail import CaughtUp, Tail
from tests.kit.anchor import AnchorProcess
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer, nats_server
from tests.kit.network import ROOT, RunningNetwork
from tests.kit.node import Node, deploy
from tests.kit.wheels import build_wheel, wheel_of

Report = Callable[[dict[str, Any]], None]
PAIRS = 10
ONE_BY_ONE = 150
TOGETHER = 2000
BARE = "benchbare"


def ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} (from {min(values):.3f} to {max(values):.3f}, {len(values)} pairs)"


class Alone:
    """One Anchor, one runtime and two workers of echo on a server, and nobody else who takes the machine's time."""

    def __init__(self, server: NatsServer, anchor: AnchorProcess, node: Node) -> None:
        self.server = server
        self._anchor = anchor
        self._node = node

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncIterator["Alone"]:
        async with nats_server(folder) as server:
            anchor, node = AnchorProcess(server, ack_wait="10", sweep_every="1"), Node(server)
            try:
                await anchor.start()
                await node.start()
                gateway = await server.connect(roles.GATEWAY, "deploys")
                await deploy(gateway, wheel_of(ROOT / "functions" / "echo"), workers=2)
                yield cls(server, anchor, node)
            finally:
                await node.close()
                await anchor.close()

    def processes(self) -> dict[str, list[int]]:
        """Process ids by what they do."""
        _, *workers = self._node.processes()
        return {
            "nats-server": [self.server.pid],
            "Anchor": [self._anchor.pid],
            "workers": workers,
            "submitter": [os.getpid()],
        }


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time that processes have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def respond(url: str, creds: Path) -> None:
    """The other side of a bare request, in a process of its own."""

    async def serve() -> None:
        bare = await plain(url, creds)

        async def answer(msg: Msg) -> None:
            await msg.respond(msg.data)

        await bare.subscribe(f"{subjects.manage_inbox(BARE)}.echo", cb=answer)
        await bare.flush()
        await asyncio.Event().wait()

    uvloop.run(serve())


async def plain(url: str, creds: Path) -> Library:
    """A connection of the client library as it comes."""
    return await nats.connect(url, user_credentials=str(creds), inbox_prefix=subjects.manage_inbox(BARE))


class Bench:
    """Submits jobs and waits for their results; makes bare requests of the same size."""

    def __init__(self, connection: bus.Bus, bare: Library) -> None:
        self._bus = connection
        self._bare = bare
        self._results: dict[str, asyncio.Future[None]] = {}
        self._early: set[str] = set()
        self._body = codec.encode(JobRequest(function="echo", params={"text": "x" * 100}))

    @classmethod
    @asynccontextmanager
    async def open(cls, server: NatsServer) -> AsyncIterator["Bench"]:
        creds = server.files.credentials(roles.GATEWAY, BARE)
        responder = multiprocessing.get_context("spawn").Process(target=respond, args=(server.url, creds), daemon=True)
        responder.start()
        connection = await server.connect(roles.GATEWAY, "bench")
        bare = await plain(server.url, creds)
        self = cls(connection, bare)
        await connection.listen(subjects.RESULTS, self._result)
        await connection.settle()
        try:
            await eventually(self._ready, within=30)
            yield self
        finally:
            responder.kill()
            responder.join()
            await bare.close()
            await connection.drain()

    async def _ready(self) -> bool:
        try:
            await self.bare()
            await self.job()
        except (nats.errors.NoRespondersError, Refused):
            return False
        return True

    def _result(self, msg: Msg) -> None:
        job = msg.subject.rpartition(".")[2]
        future = self._results.pop(job, None)
        if future is None:
            self._early.add(job)
        else:
            future.set_result(None)

    async def job(self) -> None:
        """One durable job, from the submit to its published result."""
        msg = await self._bus.request(subjects.SUBMIT, self._body, headers={codec.HEADER: codec.MSGPACK}, within=20)
        raise_refusal(msg.headers)
        job = codec.decode(msg.data, JobReceipt, codec.MSGPACK).job
        if job in self._early:
            self._early.discard(job)
            return
        future = self._results[job] = asyncio.get_running_loop().create_future()
        await future

    async def bare(self) -> None:
        """One request and its reply between the same kinds of process."""
        await self._bare.request(f"{subjects.manage_inbox(BARE)}.echo", self._body, timeout=20)

    @staticmethod
    async def latencies(work: Callable[[], Awaitable[None]], count: int) -> list[float]:
        taken: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            await work()
            taken.append(time.perf_counter() - began)
        return taken

    @staticmethod
    async def rate(work: Callable[[], Awaitable[None]], count: int, in_flight: int) -> float:
        left = iter(range(count))

        async def one() -> None:
            for _ in left:
                await work()

        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(one())
        return count / (time.perf_counter() - began)


def test_latency_of_one_job_beside_a_bare_request(tmp_path: Path, report: Report) -> None:
    async def measure() -> None:
        async with Alone.open(tmp_path / "n") as alone, Bench.open(alone.server) as bench:
            await bench.latencies(bench.job, 50)
            jobs: list[list[float]] = []
            bares: list[list[float]] = []
            for _ in range(PAIRS):
                jobs.append(await bench.latencies(bench.job, ONE_BY_ONE))
                bares.append(await bench.latencies(bench.bare, ONE_BY_ONE))
        every_job, every_bare = [*itertools.chain(*jobs)], [*itertools.chain(*bares)]
        report(
            {
                "job p50 ms": ms(percentile(every_job, 0.5)),
                "job p99 ms": ms(percentile(every_job, 0.99)),
                "bare p50 ms": ms(percentile(every_bare, 0.5)),
                "bare p99 ms": ms(percentile(every_bare, 0.99)),
                "p50 as multiple of bare": spread(
                    [percentile(job, 0.5) / percentile(bare, 0.5) for job, bare in zip(jobs, bares, strict=True)]
                ),
            }
        )

    uvloop.run(measure())


def test_rate_of_jobs_beside_bare_requests(tmp_path: Path, report: Report) -> None:
    async def measure() -> None:
        figures: dict[str, Any] = {}
        async with Alone.open(tmp_path / "n") as alone, Bench.open(alone.server) as bench:
            await bench.rate(bench.job, 1000, 64)
            for in_flight in (64, 256):
                jobs: list[float] = []
                bares: list[float] = []
                spent = dict.fromkeys(alone.processes(), 0.0)
                for _ in range(PAIRS):
                    before = {name: cpu_seconds(pids) for name, pids in alone.processes().items()}
                    jobs.append(await bench.rate(bench.job, TOGETHER, in_flight))
                    for name, pids in alone.processes().items():
                        spent[name] += cpu_seconds(pids) - before[name]
                    bares.append(await bench.rate(bench.bare, TOGETHER * 4, in_flight))
                figures[f"jobs/s, {in_flight} in flight"] = round(statistics.median(jobs))
                figures[f"bare requests/s, {in_flight} in flight"] = round(statistics.median(bares))
                figures[f"ratio, {in_flight} in flight"] = spread(
                    [job / bare for job, bare in zip(jobs, bares, strict=True)]
                )
                figures[f"processor us a job, {in_flight} in flight"] = ", ".join(
                    f"{name} {seconds / PAIRS / TOGETHER * 1e6:.0f}" for name, seconds in spent.items()
                )
        report(figures)

    uvloop.run(measure())


CODE = """
from runtime.sdk import Context, Params, Report

class P(Params, frozen=True):
    n: int = 1

class R(Report, frozen=True):
    n: int

async def measure(params: P, ctx: Context) -> R:
    return R(n=params.n)
"""


def test_time_from_upload_to_first_served_job(spine: RunningNetwork, report: Report) -> None:
    taken: list[float] = []
    for number in range(PAIRS):
        name = f"fresh{number}"
        wheel = build_wheel(name, "1.0.0", code=CODE)
        began = time.perf_counter()
        told = spine.api.post("/bundles", content=wheel, headers=spine.signed(wheel))
        assert told.status_code == 201, told.text
        while (answer := spine.api.post("/jobs", json={"function": name})).status_code != 202:
            assert answer.status_code in {404, 503}, answer.text
        result = spine.api.get(f"/jobs/{answer.json()['job']}/result", params={"wait": 20})
        assert result.json()["data"] == {"n": 1}
        taken.append(time.perf_counter() - began)
        spine.api.post(f"/functions/{name}/disable")
    report({"p50 ms": ms(statistics.median(taken)), "max ms": ms(max(taken)), "uploads": len(taken)})


def test_fork_to_registered_and_memory_of_workers(spine: RunningNetwork, report: Report) -> None:
    spine.mmn("functions", "scale", "echo", "10")

    async def announced() -> list[Announcement]:
        creds = NetworkFiles(spine.folder).credentials(roles.GATEWAY, "bench")
        connection = await bus.connect(
            spine.stack()["nats"]["url"],
            bus.FileCredentials(creds),
            identity="bench",
            inbox=subjects.manage_inbox("bench"),
            ca=bus.read_ca(Path(spine.stack()["nats"]["ca"])),
        )
        found: list[Announcement] = []
        try:
            async with asyncio.timeout(30):
                async for item in Tail(connection, streams.MODULES, start="all"):
                    if isinstance(item, CaughtUp):
                        continue
                    news = codec.decode(item.data, Announcement)
                    if news.function == "echo":
                        found.append(news)
                    if len({one.instance for one in found if one.event == "ready"}) >= 10:
                        break
        finally:
            await connection.drain()
        return found

    news = uvloop.run(announced())
    began = {one.instance: clock.epoch_ns(one.at) for one in news if one.event == "started"}
    ready = {one.instance: clock.epoch_ns(one.at) for one in news if one.event == "ready"}
    pids = [one.pid for one in news if one.event == "ready" and one.pid]
    taken = [(ready[name] - began[name]) / 1e6 for name in ready if name in began]
    memory = [figures for pid in pids if (figures := smaps(pid))]
    report(
        {
            "started to ready, median ms": round(statistics.median(taken), 1),
            "started to ready, max ms": round(max(taken), 1),
            "workers": len(memory),
            "PSS per worker, MB": round(statistics.mean(one["Pss"] for one in memory) / 1024, 1),
            "private per worker, MB": round(
                statistics.mean(one["Private_Dirty"] + one["Private_Clean"] for one in memory) / 1024, 1
            ),
            "RSS per worker, MB": round(statistics.mean(one["Rss"] for one in memory) / 1024, 1),
        }
    )
    spine.mmn("functions", "scale", "echo", "2")


def smaps(pid: int) -> dict[str, int]:
    """Memory of a process in KiB, by kind."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}
