"""An Anchor under test: `python -m anchor` as a process, scripted workers, and a client that submits.

Scripted workers are real members of account MEASURE, with real tokens and a real micro service; only
what they do with a call is decided by the test.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import nats.errors
import nkeys
from nats.aio.msg import Msg

from contracts import bus, clock, codec, heart, subjects
from contracts.access import roles, tokens
from contracts.access.provision import mint_worker
from contracts.errors import Refused
from contracts.functions import Limits
from contracts.jobs import (
    CANCELLED_CODE,
    HEADER_CLIENT,
    HEADER_QUEUE_NS,
    HEADER_RUN_NS,
    Call,
    CallReply,
    Cancelled,
    CancelReply,
    CancelRequest,
    JobEvent,
    JobReceipt,
    JobRequest,
    StopReply,
)
from contracts.modules import HEADER_PROBE, Announcement, Card, Health, WorkerEvent, new_instance
from contracts.results import Result
from contracts.service import Answer, Ask, Gate, Service, answer, raise_refusal
from contracts.tail import stream_status
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer

ROOT = Path(__file__).resolve().parents[2]
Behaviour = Callable[["ScriptedWorker", Call], Awaitable[None]]


class AnchorProcess:
    """One Anchor. `kill` is SIGKILL, `stop` SIGTERM."""

    def __init__(self, server: NatsServer, name: str = "anchor1", **settings: str) -> None:
        self.server = server
        self.name = name
        self.log = server.files.folder / f"{name}.log"
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it answers as a micro service."""
        files = self.server.files
        env = {
            "PATH": os.environ.get("PATH", ""),
            "MMN_NATS_URL": self.server.url,
            "MMN_ANCHOR_NATS_CREDS": str(files.credentials(roles.ANCHOR, self.name)),
            "MMN_ANCHOR_ID": self.name,
            "MMN_ANCHOR_ACK_WAIT": "2",
            "MMN_ANCHOR_SWEEP_EVERY": "0.2",
            # One client submits everything here; tests of budgets set their own.
            "MMN_ANCHOR_CLIENT_RATE": "0",
            "MMN_ANCHOR_TARGET_RATE": "0",
            **{f"MMN_ANCHOR_{name.upper()}": value for name, value in self._settings.items()},
        }
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "anchor"), cwd=ROOT, env=env, stdin=DEVNULL, stdout=log, stderr=log
            )
        asking = await self.server.connect(roles.GATEWAY, f"asks-{self.name}")

        async def answers() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, self.log.read_text()[-2000:]
            try:
                await asking.nc.request(subjects.service("PING", "anchor", self.name), timeout=0.5)
            except nats.errors.Error:
                return False
            return True

        await eventually(answers, within=15)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM. Returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(20):
            return await self._process.wait()

    async def close(self) -> None:
        """End it if it runs."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()


class ScriptedWorker:
    """A worker whose answer to a call is written by the test."""

    def __init__(
        self,
        server: NatsServer,
        behaviour: Behaviour,
        *,
        node: str = "n1",
        concurrency: int = 4,
        claims: dict[str, str] | None = None,
        params_schema: dict[str, Any] | None = None,
    ) -> None:
        self.server = server
        self.node = node
        self.instance = new_instance(node)
        self.calls: list[Call] = []
        self.limits = Limits(concurrency=concurrency)
        self.claims = claims or {}
        self.says: str | None = None
        self.queue_ns = 0
        self.run_ns = 1000
        self.params_schema = params_schema or {"type": "object", "maxProperties": 2}
        self.user_key: str | None = None
        self.probed = 0
        self.ends_cancelled = True
        self.told_to_end: list[str] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._gate: Gate | None = None
        self._behaviour = behaviour
        self._bus: bus.Bus | None = None
        self._service: Service | None = None
        self._beating: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot in it."""
        return self._gate.waiting if self._gate else 0

    @property
    def rejected(self) -> int:
        """Calls that were refused, for every slot was taken."""
        return self._gate.rejected if self._gate else 0

    @property
    def bus(self) -> bus.Bus:
        assert self._bus is not None
        return self._bus

    async def start(self, *, announce: bool = True) -> None:
        """Join MEASURE and serve calls; with `announce` the node's runtime says so."""
        files, key = self.server.files, tokens.new_user_key()
        self.user_key = tokens.public(key)
        node_key = nkeys.from_seed(bytearray(files.node_key(self.node).read_bytes().strip()))
        token = mint_worker(
            node_key,
            account_key=files.account_key("MEASURE"),
            function="ping",
            suffix=self.instance.partition("_")[2],
            user_key=self.user_key,
            lifetime_s=600,
        )
        self._bus = await bus.connect(
            self.server.url,
            bus.KeyCredentials(token, key),
            identity=self.instance,
            inbox=subjects.worker_inbox(self.instance),
        )
        self._service = Service(
            self.bus,
            name="ping",
            instance=self.instance,
            version="1.0.0",
            description="scripted",
            metadata={
                "digest": "d1",
                "labels": "{}",
                "limits": json.dumps({"concurrency": self.limits.concurrency}),
                **self.claims,
                "user_key": self.user_key,
            },
        )
        await self._service.start()
        self._gate = await self._service.add(
            "call",
            subjects.call("ping", self.instance),
            self._call,
            limit=self.limits.concurrency,
            queue=self.limits.concurrency,
            metadata={"params_schema": json.dumps(self.params_schema), "result_schema": "{}"},
        )
        await self._service.add("cancel", subjects.call_cancel("ping", self.instance), self._cancel)
        await self.bus.settle()
        self._beating = asyncio.create_task(heart.beat(self.bus, self._health, every=0.5))
        if announce:
            await self.announce("ready")

    def _health(self) -> Health:
        return Health(
            instance=self.instance,
            kind="worker",
            state="up",
            at=clock.utc_now(),
            function="ping",
            limit=self.limits.concurrency,
            in_flight=self._gate.running if self._gate else 0,
            queue=self.waiting,
        )

    async def announce(self, event: WorkerEvent, reason: str = "") -> None:
        """Speak as this worker's runtime."""
        runtime = await self.server.connect(roles.RUNTIME, self.node)
        card = Card(
            function="ping",
            version="1.0.0",
            digest="d1",
            summary="scripted",
            limits=self.limits,
            needs=[],
            params_schema=self.params_schema,
            result_schema={},
            box="B4",
        )
        news = Announcement(
            node=self.node,
            instance=self.instance,
            function="ping",
            version="1.0.0",
            digest="d1",
            event=event,
            at=clock.utc_now(),
            reason=reason,
            card=card if event == "ready" else None,
            user_key=self.user_key,
        )
        await runtime.publish(subjects.announce(self.node), codec.encode(news, codec.JSON))
        await runtime.flush()

    async def _call(self, ask: Ask) -> Answer:
        if HEADER_PROBE in ask.headers:
            self.probed += 1
            return answer(CallReply(job="", instance=self.instance))
        call = ask.decode(Call)
        self.calls.append(call)
        work = self._running[call.job] = asyncio.ensure_future(self._behaviour(self, call))
        try:
            await work
        except asyncio.CancelledError:
            if not work.cancelled():
                raise
            raise Refused(CANCELLED_CODE, "cancelled", "the job was cancelled") from None
        finally:
            self._running.pop(call.job, None)
        reply = CallReply(job=self.says or call.job, instance=self.instance)
        return answer(reply, ask.media(), {HEADER_QUEUE_NS: str(self.queue_ns), HEADER_RUN_NS: str(self.run_ns)})

    async def _cancel(self, ask: Ask) -> Answer:
        job = ask.decode(Cancelled).job
        self.told_to_end.append(job)
        found = self._running.get(job)
        if found is not None and self.ends_cancelled:
            found.cancel()
        return answer(StopReply(job=job, instance=self.instance, found=found is not None), ask.media())

    async def store(self, call: Call) -> None:
        """Store the call's result the way workers do."""
        result = Result(job=call.job, function="ping", by=self.instance, started=clock.utc_now(), duration_ns=1)
        try:
            await self.bus.js.publish(
                subjects.out(call.job, self.instance),
                codec.encode(result, codec.JSON),
                headers={
                    "Nats-Expected-Last-Subject-Sequence": "0",
                    "Nats-Expected-Last-Subject-Sequence-Subject": subjects.out_any(call.job),
                },
            )
        except Exception as error:  # noqa: BLE001  # stored before is as good
            assert "wrong last sequence" in str(error)  # noqa: PT017

    def deafen(self) -> None:
        """Stop taking calls without a word, as a client whose callback has died does: all else goes on."""
        assert self._service is not None
        for subscription in self._service._client.subscriptions:
            self.bus.nc.listeners[subscription.current._id] = lambda _: None

    async def stop_listening(self) -> Callable[[], Awaitable[None]]:
        """Leave the work subject, and nothing else. Returns how to come back."""
        assert self._service is not None
        old = [subscription.current for subscription in self._service._client.subscriptions]
        heard = {subscription._id: self.bus.nc.listeners[subscription._id] for subscription in old}
        for subscription in old:
            await subscription.unsubscribe()
        await self.bus.flush()

        async def again() -> None:
            for subscription in old:
                await self.bus.listen(subscription.subject, heard[subscription._id], queue=subscription.queue)
            await self.bus.flush()

        return again

    async def blip(self) -> None:
        """Lose the connection and come back at once."""
        await self.bus.nc.force_reconnect()

    async def vanish(self) -> None:
        """Be gone, as if killed: no goodbye to NATS or anybody."""
        if self._beating is not None:
            self._beating.cancel()
        if self._bus is not None:
            await self._bus.nc.close()


async def answers(worker: ScriptedWorker, call: Call) -> None:
    """The behaviour of a healthy worker."""
    await worker.store(call)


class Client:
    """Submits as the gateway does, and sees what everybody may see."""

    def __init__(self, connection: bus.Bus, inspector: bus.Bus) -> None:
        self.bus = connection
        self.inspector = inspector
        self.results: dict[str, list[Result]] = {}
        self.events: dict[str, list[JobEvent]] = {}

    @classmethod
    async def open(cls, server: NatsServer) -> "Client":
        self = cls(await server.connect(roles.GATEWAY, "client"), await server.connect(roles.PROVISIONER, "inspector"))

        async def result(msg: Msg) -> None:
            found = codec.decode(msg.data, Result)
            self.results.setdefault(found.job, []).append(found)

        async def event(msg: Msg) -> None:
            found = codec.decode(msg.data, JobEvent)
            self.events.setdefault(found.job, []).append(found)

        await self.bus.nc.subscribe(subjects.RESULTS, cb=result)
        await self.bus.nc.subscribe(subjects.JOB_EVENTS, cb=event)
        await self.bus.settle()
        return self

    async def submit(self, *, media: str = codec.JSON, who: str = "", **fields: Any) -> JobReceipt:
        """Submit one job, on behalf of `who`. Raises Refused."""
        request = JobRequest(**{"function": "ping", **fields})
        msg = await self.bus.request(
            subjects.SUBMIT,
            codec.encode(request, media),
            headers={codec.HEADER: media} | ({HEADER_CLIENT: who} if who else {}),
            within=5,
        )
        raise_refusal(msg.headers)
        return codec.decode(msg.data, JobReceipt, codec.content_type(msg.headers))

    async def cancel(self, job: str, reason: str = "") -> CancelReply:
        """Cancel one job. Raises Refused."""
        body = codec.encode(CancelRequest(job=job, reason=reason), codec.JSON)
        msg = await self.bus.request(subjects.CANCEL, body, headers={HEADER_CLIENT: "ann"}, within=5)
        raise_refusal(msg.headers)
        return codec.decode(msg.data, CancelReply, codec.content_type(msg.headers))

    async def result(self, job: str, *, within: float = 10.0) -> Result:
        """The job's result, as soon as it is published; exactly one."""
        await eventually(lambda: job in self.results, within=within)
        assert len(self.results[job]) == 1
        return self.results[job][0]

    async def story(self, job: str, last: str = "finished", *, within: float = 10.0) -> list[str]:
        """The kinds of a job's events, once the last one has come."""
        await eventually(
            lambda: last in [event.event for event in self.events.get(job, [])],
            within=within,
        )
        return [event.event for event in self.events[job]]

    async def count(self, stream: str) -> int:
        """How many messages a stream holds."""
        return (await stream_status(self.inspector, stream)).state.messages

    async def drained(self, *, within: float = 20.0) -> None:
        """Wait until no job waits or runs."""

        async def empty() -> bool:
            return await self.count("JOBS") == 0

        await eventually(empty, within=within)


async def known(client: Client) -> None:
    """Wait until the Anchor has heard of a worker that runs jobs."""

    async def accepted() -> bool:
        try:
            job = (await client.submit()).job
        except Refused:
            return False
        await client.result(job)
        return True

    await eventually(accepted, within=10)


@asynccontextmanager
async def workers(*group: ScriptedWorker) -> AsyncIterator[None]:
    """Started workers that are gone afterwards."""
    try:
        for worker in group:
            await worker.start()
        yield
    finally:
        for worker in group:
            await worker.vanish()
