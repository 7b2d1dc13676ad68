"""What a scenario plays on: a network of its own, someone who orders jobs, a timeline, checks."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from contracts import bus, clock, subjects
from contracts.access import roles
from gateway.cli import authorship
from gateway.cli.client import Client
from gateway.cli.deploy import outcomes
from gateway.cli.exits import Stop
from gateway.cli.local import LocalNetwork
from gateway.cli.scenarios.checks import Check, Must, Side, judge
from gateway.cli.scenarios.eye import Eye, lane_of
from gateway.cli.scenarios.load import Load
from gateway.cli.scenarios.orders import Desk
from gateway.cli.scenarios.timeline import Timeline
from gateway.cli.session import Session
from gateway.cli.settings import Settings

_POLL_S = 0.03
_READY_S = 60.0
_ENDED_S = 60.0


class Stalled(Exception):
    """Something that the story needs did not happen in its time."""

    def __init__(self, what: str, within: float) -> None:
        super().__init__(f"{what}: not within {within:g} s")
        self.what = what
        self.within = within


class Links:
    """Connections to one network, with whatever rights a scenario needs."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network
        self._open: list[bus.Bus] = []

    async def connect(self, role: roles.Role) -> bus.Bus:
        """A connection with the rights of a role."""
        identity = f"scenario-{role.name}"
        inbox = subjects.INBOX_DEFAULT if role in roles.PEOPLE else subjects.manage_inbox(identity)
        credentials = bus.FileCredentials(self.network.files.credentials(role, identity))
        made = await bus.connect(
            self.network.nats_url,
            credentials,
            identity=identity,
            inbox=inbox,
            ca=bus.read_ca(self.network.nats_ca),
        )
        self._open.append(made)
        return made

    async def close(self) -> None:
        """Close them all."""
        for made in self._open:
            await made.drain()


class Stage:
    """One run of one scenario. Everything random comes from `chance`, so a seed repeats a run."""

    def __init__(
        self,
        links: Links,
        client: Client,
        desk: Desk,
        eye: Eye,
        *,
        timeline: Timeline,
        seed: int,
        long: bool,
        say: Callable[[str], None],
    ) -> None:
        self.network = links.network
        self.links = links
        self.client = client
        self.desk = desk
        self.eye = eye
        self.timeline = timeline
        self.long = long
        self.chance = random.Random(seed)
        self.checks: list[Check] = []
        self.sides: list[Side] = []
        self._say = say

    # --- what happens ------------------------------------------------------------------------------------

    def step(self, text: str) -> None:
        """Tell people what happens now."""
        self._say(text)

    def check(
        self, name: str, measured: float, must: Must, bound: float | None, unit: str = "", *, note: str = ""
    ) -> None:
        """Keep a figure beside its bound."""
        self.checks.append(judge(name, measured, must, bound, unit, note=note))

    def show(self, name: str, measured: float, unit: str = "", *, note: str = "") -> None:
        """Keep a figure that has no bound."""
        self.check(name, measured, "shown", None, unit, note=note)

    async def until(self, what: str, condition: Callable[[], Awaitable[bool]], *, within: float) -> float:
        """Wait until a condition holds. Returns the seconds it took; raises Stalled."""
        began = self.timeline.now()
        try:
            async with asyncio.timeout(within):
                while True:
                    if await condition():
                        return self.timeline.now() - began
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Stalled(what, within) from None

    # --- the network -------------------------------------------------------------------------------------

    async def modules(self) -> list[Mapping[str, Any]]:
        """Who is there, as the gateway tells people; nobody while it does not answer."""
        try:
            return list(await self.client.get("/modules", timeout=2.0))
        except Stop:
            return []

    async def workers(self, function: str, node: str | None = None) -> dict[str, int]:
        """Pids of a function's workers that are up, by instance."""
        return {
            str(module["instance"]): int(module["pid"])
            for module in await self.modules()
            if module["kind"] == "worker"
            and module.get("function") == function
            and module["state"] == "up"
            and module.get("pid")
            and node in {None, module.get("node")}
        }

    async def all_workers(self, function: str, count: int, node: str | None = None) -> dict[str, int]:
        """Pids of a function's workers by instance, as soon as so many are up: one that has just begun is not yet."""
        found: dict[str, int] = {}

        async def complete() -> bool:
            nonlocal found
            found = await self.workers(function, node)
            return len(found) == count

        await self.until(f"{count} workers of {function} are up", complete, within=_READY_S)
        return found

    async def state_of(self, instance: str) -> str:
        """What people are shown of an instance; `unknown` while the gateway does not answer."""
        listed = await self.modules()
        if not listed:
            return "unknown"
        return next((str(module["state"]) for module in listed if module["instance"] == instance), "down")

    async def upload(
        self,
        wheel: bytes,
        *,
        workers: int | None = None,
        match: Mapping[str, str] | None = None,
        way: Sequence[tuple[str, str]] = (),
    ) -> dict[str, Any]:
        """Upload a wheel, as `mmn deploy` does; `way` says how a new version takes over."""
        query = [*way, *(("match", f"{key}={value}") for key, value in (match or {}).items())]
        if workers is not None:
            query.append(("workers", str(workers)))
        signature = authorship.signed(wheel, authorship.read(self.network.author_file))
        return dict(await self.client.upload("/bundles", wheel, query, signature=signature))

    async def deploy(self, wheel: bytes, *, workers: int = 1, match: Mapping[str, str] | None = None) -> None:
        """Upload a wheel and wait until every node runs it and a first job was served."""
        deployment = await self.upload(wheel, workers=workers, match=match)
        await self.ready(deployment)
        await self.serves(str(deployment["function"]))

    async def ready(self, deployment: Mapping[str, Any]) -> None:
        """Wait until every node runs as many workers as the deployment wants."""

        async def settled() -> bool:
            seen = outcomes(await self.modules(), deployment)
            return bool(seen) and all(one.state == "ready" for one in seen)

        await self.until(f"{deployment['function']} is ready on every node", settled, within=_READY_S)

    async def serves(self, function: str, node: str | None = None, *, within: float = _READY_S) -> float:
        """Wait until a job of this function was served. Returns the moment on the timeline."""

        async def served() -> bool:
            order = await self.desk.place(function, {"ms": 1}, node=node, patient=False)
            if order.job is None:
                return False
            await order.ended
            return order.served

        await self.until(f"a job of {function} is served", served, within=within)
        return self.timeline.now()

    async def scale(self, function: str, workers: int) -> None:
        """Let every node run so many workers, and wait until they are ready."""
        await self.ready(await self.client.post(f"/functions/{function}/scale", {"workers": workers}))

    def pid(self, program: str) -> int:
        """The pid of a program of the network. Raises Stalled while it is down."""
        pid = self.network.stack.pid(program)
        if pid is None:
            raise Stalled(f"{program} runs", 0)
        return pid

    def lane(self, instance: str) -> str:
        """The lane of an instance."""
        return self.eye.lane(instance)

    # --- what is done to it ------------------------------------------------------------------------------

    def kill(self, lane: str, pid: int) -> int:
        """SIGKILL. Returns when that was, on the monotonic clock."""
        self.step(f"kill -9 {lane}")
        self.timeline.mark(lane, "kill", "killed by SIGKILL")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return clock.monotonic_ns()

    def kill_program(self, program: str) -> int:
        """SIGKILL a program of the network."""
        return self.kill(lane_of(program), self.pid(program))

    @contextmanager
    def stopped(self, lane: str, pid: int) -> Generator[None]:
        """SIGSTOP a process as long as the block runs: it is there, and does nothing."""
        self.step(f"kill -STOP {lane}")
        self.timeline.mark(lane, "stop", "stopped by SIGSTOP")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                self.timeline.mark(lane, "continue")

    @asynccontextmanager
    async def slowed(self, lane: str, pid: int, *, awake: float, asleep: float) -> AsyncGenerator[None]:
        """Let a process run only part of the time, as on an overloaded node."""
        self.timeline.mark(lane, "slow", f"runs {awake * 1000:.0f} ms of every {(awake + asleep) * 1000:.0f} ms")

        async def hinder() -> None:
            try:
                while True:
                    os.kill(pid, signal.SIGSTOP)
                    await asyncio.sleep(asleep)
                    os.kill(pid, signal.SIGCONT)
                    await asyncio.sleep(awake)
            except ProcessLookupError:
                return
            finally:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        async with asyncio.TaskGroup() as tasks:
            hindering = tasks.create_task(hinder())
            try:
                yield
            finally:
                hindering.cancel()
                self.timeline.mark(lane, "continue")

    # --- what has to hold always -------------------------------------------------------------------------

    async def check_every_job(self, *loads: Load) -> None:
        """Every accepted job has exactly one result, and nothing waits any more."""
        self.step(f"waiting for the last results ({self.desk.waiting})")
        await self.desk.all_ended(within=_ENDED_S)
        stored = await self.desk.stored()
        accepted = self.desk.accepted
        self.show("jobs accepted", len(accepted))
        self.check("accepted jobs without a result", sum(job not in stored for job in accepted), "exactly", 0)
        self.check("jobs with more than one result", sum(count > 1 for count in stored.values()), "exactly", 0)
        for load in loads:
            lost = sum(order.lost for order in load.orders)
            self.check(f"{load.function}: orders that nobody took", lost, "exactly", 0)


@asynccontextmanager
async def staged(network: LocalNetwork, *, seed: int, long: bool, say: Callable[[str], None]) -> AsyncGenerator[Stage]:
    """A stage on a network that is ready, with somebody at the desk."""
    links, timeline = Links(network), Timeline()
    try:
        async with Client(Session(Settings(url=network.url, state=network.wish.folder))) as client:
            await client.token()
            eye = Eye(network, timeline)
            await eye.open(await links.connect(roles.OPERATOR))
            desk = Desk(await links.connect(roles.GATEWAY), timeline)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(desk.run())
                try:
                    yield Stage(links, client, desk, eye, timeline=timeline, seed=seed, long=long, say=say)
                finally:
                    following.cancel()
    finally:
        await links.close()
