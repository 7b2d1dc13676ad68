"""The agent of a node: follows the deployments, answers for the node, and ends in order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

import nats.errors
import nkeys
import structlog

from contracts import bus, clock, codec, heart, logs, process, streams, subjects
from contracts.errors import InvalidField, MmnError, Refused
from contracts.functions import Deployment
from contracts.modules import Health
from contracts.nodes import DrainRequest, NodeReply, RestartRequest
from contracts.service import Answer, Ask, Service, answer
from contracts.tail import CaughtUp, Entry, Watch
from runtime.box.kernel import open_to_own_user
from runtime.fleet import Fleet
from runtime.settings import Settings

log = structlog.get_logger(__name__)
_LEAVE_S = 3.0


async def serve(settings: Settings, shipper: logs.LogShipper) -> None:
    """Run a node until a signal, then drain its workers and leave. Raises MmnError."""
    stop = process.stop_signal()
    # It holds keys that no worker may find, not even one with the same user.
    open_to_own_user(yes=False)
    signer = _signing_key(settings)
    connection = await bus.connect(
        settings.nats_url,
        bus.FileCredentials(settings.nats_creds),
        identity=settings.node,
        ca=bus.read_ca(settings.nats_ca),
        inbox=subjects.manage_inbox(settings.node),
        name=f"runtime/{settings.node}",
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            agent = Agent(settings, connection, Fleet(connection, settings, signer))
            running = [
                tasks.create_task(work) for work in (connection.failed(), shipper.run(connection), *agent.work())
            ]
            await agent.open()
            log.info("runtime is ready", node=settings.node, labels=settings.labels)
            await stop.wait()
            log.info("runtime is stopping", workers=len(agent.fleet.workers))
            await agent.close()
            for task in running:
                task.cancel()
    finally:
        await connection.drain()


def _signing_key(settings: Settings) -> nkeys.KeyPair:
    try:
        return nkeys.from_seed(bytearray(settings.signing_key.read_bytes().strip()))
    except OSError as error:
        raise MmnError(f"cannot read the signing key {settings.signing_key}: {error.strerror}") from error
    except (nkeys.NkeysError, ValueError) as error:
        raise MmnError(f"{settings.signing_key} holds no signing key") from error


class Agent:
    """One node on the bus."""

    def __init__(self, settings: Settings, connection: bus.Bus, fleet: Fleet) -> None:
        self.fleet = fleet
        self._settings = settings
        self._bus = connection
        self._lag = heart.LoopLag()
        # A node that a person drained stays so when its runtime is restarted.
        self._drained = settings.state_dir / "draining"
        self._known = asyncio.Event()
        fleet.draining = self._drained.exists()
        self._service: Service | None = None
        connection.on_reconnect(fleet.reconnected)

    def work(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What has to run as long as the node does."""
        return (self._lag.run(), heart.beat(self._bus, self._health), self.fleet.run(), self._follow(), self._tidy())

    async def open(self) -> None:
        """Register the node's own micro service, which says how its workers are confined."""
        await self.fleet.isolation.opened.wait()
        service = self._service = self._described()
        await service.start()
        await service.add("drain", subjects.node_control(self._settings.node, "drain"), self._drain)
        await service.add("restart", subjects.node_control(self._settings.node, "restart"), self._restart)
        await self._bus.settle()

    def _described(self) -> Service:
        box = self.fleet.isolation.state
        return Service(
            self._bus,
            name="runtime",
            instance=self._settings.node,
            version=version("mmn"),
            description="runs measurement functions on one node",
            metadata={
                "labels": _text(self._settings.labels),
                "box": box.level,
                "egress": box.egress,
                "gaps": _text(box.gaps),
            },
        )

    async def close(self) -> None:
        """Drain all workers, then take no more requests."""
        await self.fleet.stop(self._settings.drain_s)
        if self._service is None:
            return
        try:
            # Without NATS there is nobody to take leave of.
            async with asyncio.timeout(_LEAVE_S):
                await self._service.stop(grace=1.0)
        except (TimeoutError, nats.errors.Error) as error:
            log.info("service not unregistered", reason=str(error) or type(error).__name__)

    def _health(self) -> Health:
        return Health(
            instance=self._settings.node,
            kind="runtime",
            state="draining" if self.fleet.draining else "up",
            at=clock.utc_now(),
            node=self._settings.node,
            version=version("mmn"),
            loop_lag_ns=self._lag.take(),
            rss_bytes=heart.resident_bytes(),
            labels=self._settings.labels,
            troubles=self.fleet.troubles.told(),
        )

    async def _follow(self) -> None:
        """Take over deployments. Nothing starts or stops before all of them are known."""
        known: dict[str, Deployment | None] | None = {}
        async for item in Watch(self._bus, streams.BUCKET_FUNCTIONS):
            if isinstance(item, CaughtUp):
                for function, deployment in (known or {}).items():
                    self.fleet.set_wish(function, deployment)
                known = None
                self._known.set()
                continue
            deployment, sound = _read(item)
            if not sound:
                continue
            if known is None:
                self.fleet.set_wish(item.key, deployment)
            else:
                known[item.key] = deployment

    async def _tidy(self) -> None:
        # Before that, every bundle would look like one that nobody wants.
        await self._known.wait()
        while True:
            await asyncio.sleep(self._settings.tidy_every_s)
            try:
                await self.fleet.tidy()
            except OSError as error:
                log.warning("bundles not removed", reason=str(error))

    async def _drain(self, ask: Ask) -> Answer:
        request = ask.decode(DrainRequest) if ask.data else DrainRequest()
        if request.on:
            self._drained.touch()
        else:
            self._drained.unlink(missing_ok=True)
        self.fleet.drain(on=request.on)
        return answer(self._reply(), ask.media())

    async def _restart(self, ask: Ask) -> Answer:
        request = ask.decode(RestartRequest) if ask.data else RestartRequest()
        if not self.fleet.restart(request.function):
            raise Refused(404, "no-such-function", f"function: {(request.function or '')[:63]} is not deployed")
        return answer(self._reply(), ask.media())

    def _reply(self) -> NodeReply:
        workers: dict[str, int] = {}
        for worker in self.fleet.workers.values():
            if worker.phase != "draining":
                workers[worker.slot.function] = workers.get(worker.slot.function, 0) + 1
        state = "draining" if self.fleet.draining else "up"
        return NodeReply(node=self._settings.node, state=state, workers=workers)


def _text(value: Any) -> str:
    return codec.encode(value, codec.JSON).decode()


def _read(entry: Entry) -> tuple[Deployment | None, bool]:
    """The deployment in an entry, None for a deleted one, and whether it can be believed."""
    if entry.value is None:
        return None, True
    try:
        deployment = codec.decode(entry.value, Deployment, limit=1024 * 1024, at=entry.key)
        if deployment.function != entry.key:
            raise InvalidField(f"{entry.key}.function", "must be the key it is stored under")
    except MmnError as error:
        # What ran before goes on: a typing error in a bucket stops no measurement.
        log.warning("deployment not understood", function=entry.key, reason=str(error))
        return None, False
    return deployment, True
