"""A worker: one function version in one process, with its own connection to NATS.

It makes its own key, so the secret half never leaves this process. It is told over the pair who it is,
connects, loads the bundle, tests itself, registers the micro service and says that it is ready.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import structlog
import uvloop

from contracts import bus, clock, codec, heart, logs, subjects
from contracts.access import tokens
from contracts.errors import CannotMeasure, MmnError, Unavailable
from contracts.modules import Health, State
from contracts.redaction import redact_text
from contracts.service import Gate, Service
from runtime.channel import BEAT_S, Assignment, Beat, Channel, Drain, FromRuntime, Hello, Ready, Renew, Start, Unfit
from runtime.lag import LagHistory
from runtime.sdk.function import Function, load_entry
from runtime.sdk.icmp import IcmpSockets
from runtime.service import Measuring

log = structlog.get_logger(__name__)
_DRAIN_GRACE_S = 10.0
_UNFIT_GRACE_S = 2.0
_RENEW_AGAIN_S = 1.0
_LOOK_S = 1.0
_REFUSED_S = 5.0
"""A server that is restarted may refuse for a moment what it accepts once it knows its accounts."""


class NotFit(MmnError):
    """This worker will not become ready. The message goes to the runtime as the reason."""

    def __init__(self, reason: str, *, blameless: bool = False) -> None:
        super().__init__(reason)
        self.blameless = blameless


def main(pair: int, icmp: Sequence[int]) -> int:
    """Run a worker to its end. Does not return when all went well: threads of a bundle must not hold it."""
    faulthandler.enable()
    # Before a worker that does not move is killed, it is asked where it stands.
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    # Anew, since the inherited objects believe to write where the zygote wrote.
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, errors="replace", closefd=False) for number in (1, 2))  # noqa: SIM115

    async def live() -> None:
        status = await Worker(socket.socket(fileno=pair), icmp).run()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live())
    return 1


class Worker:
    """The life of one worker."""

    def __init__(self, pair: socket.socket, icmp: Sequence[int]) -> None:
        loop = asyncio.get_running_loop()
        self._icmp = icmp
        self._key = tokens.new_user_key()
        self._credentials = bus.KeyCredentials("", self._key)
        self._start: asyncio.Future[Start] = loop.create_future()
        self._drain: asyncio.Future[float] = loop.create_future()
        self._renewed = asyncio.Event()
        self._channel = Channel(pair, FromRuntime, self._told, self._runtime_gone)
        self._lag = LagHistory()
        self._health_lag = heart.LoopLag()
        loop.add_signal_handler(signal.SIGTERM, self._told, Drain(_DRAIN_GRACE_S))

    def _told(self, message: Start | Renew | Drain) -> None:
        match message:
            case Start():
                if not self._start.done():
                    self._start.set_result(message)
            case Renew():
                self._credentials.token = message.token
                self._renewed.set()
            case Drain():
                if not self._drain.done():
                    self._drain.set_result(message.grace_s)

    def _runtime_gone(self, _reason: str) -> None:
        # The kernel's parent-death signal says the same; whichever is first.
        os._exit(1)

    async def run(self) -> int:
        """Work until drained. Returns the exit status."""
        self._channel.send(Hello(tokens.public(self._key)))
        status = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [tasks.create_task(work) for work in (self._beat(), self._lag.run(), self._health_lag.run())]
                try:
                    start = await self._start
                    self._credentials.token = start.token
                    await self._work(start.assignment)
                finally:
                    for helper in helpers:
                        helper.cancel()
        except* (NotFit, Unavailable) as group:
            error = _first(group)
            blameless = error.blameless if isinstance(error, NotFit) else True
            self._channel.send(Unfit(redact_text(str(error))[:1000], blameless))
            status = 1
        return status

    async def _beat(self) -> None:
        while True:
            # A runtime that does not read needs no second beat.
            if not self._channel.backlog:
                self._channel.send(Beat())
            await asyncio.sleep(BEAT_S)

    async def _work(self, who: Assignment) -> None:
        # Lines go out over NATS. The inherited output is for what escapes: prints and the interpreter's last words.
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: ASYNC230, PTH123
            shipper = logs.configure(who.instance, level=who.log_level, pretty=False, stream=nowhere)
            structlog.contextvars.bind_contextvars(node=who.node)
            connection = await bus.connect(
                who.nats_url,
                self._credentials,
                identity=who.instance,
                inbox=subjects.worker_inbox(who.instance),
                ca=who.nats_ca,
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    shipping = tasks.create_task(shipper.run(connection))
                    try:
                        await self._serve(who, connection)
                    finally:
                        shipping.cancel()
            finally:
                await connection.drain()

    async def _serve(self, who: Assignment, connection: bus.Bus) -> None:
        function = _load(who)
        sockets = IcmpSockets.adopt(self._icmp) if "icmp" in who.manifest.needs else IcmpSockets.none()
        measuring = Measuring(connection, function, who, sockets=sockets, lag=self._lag)
        note = await _test(measuring) if who.manifest.self_test else ""
        service, gate = await _register(who, connection, function, measuring, tokens.public(self._key))

        def report() -> Health:
            state: State = "draining" if self._drain.done() else "up"
            return self._health(who, state, gate, measuring)

        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(work)
                for work in (
                    heart.beat(connection, report),
                    measuring.outbox.run(),
                    self._renew(connection),
                    _refused(connection),
                )
            ]
            try:
                # The first heartbeat goes out before anyone is told to count them.
                self._channel.send(Ready(function.params_schema, function.result_schema, note))
                reason = await self._until_end(measuring, connection)
                await _leave(service, _UNFIT_GRACE_S if reason else self._drain.result())
                await measuring.outbox.flush()
                if reason:
                    raise reason
            finally:
                for helper in helpers:
                    helper.cancel()

    async def _renew(self, connection: bus.Bus) -> None:
        """Move to a new connection with every new token, before the old token ends."""
        while True:
            await self._renewed.wait()
            self._renewed.clear()
            try:
                await connection.renew()
            except bus.CannotConnect as error:
                log.warning("connection not renewed", reason=str(error))
                await asyncio.sleep(_RENEW_AGAIN_S)
                self._renewed.set()

    async def _until_end(self, measuring: Measuring, connection: bus.Bus) -> NotFit | None:
        """Wait to be drained. Returns the reason when the worker has to leave by itself."""
        closed = asyncio.get_running_loop().create_task(connection.closed.wait())
        try:
            ends: set[asyncio.Future[Any]] = {self._drain, measuring.unfit, closed}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
        if self._drain.done():
            return None
        if measuring.unfit.done():
            return NotFit(measuring.unfit.result())
        return NotFit(f"the connection to NATS was closed: {connection.nc.last_error}", blameless=True)

    def _health(self, who: Assignment, state: State, gate: Gate, measuring: Measuring) -> Health:
        return Health(
            instance=who.instance,
            kind="worker",
            state=state,
            at=clock.utc_now(),
            node=who.node,
            function=who.function,
            version=who.version,
            in_flight=gate.running,
            queue=gate.waiting,
            limit=gate.limit,
            done=measuring.done,
            faults=measuring.faults,
            rejected=gate.rejected,
            breakers=measuring.breakers.open(),
            loop_lag_ns=self._health_lag.take(),
            rss_bytes=heart.resident_bytes(),
            labels=who.labels,
        )


async def _refused(connection: bus.Bus) -> None:
    """Raise NotFit when the server goes on refusing this key: it was revoked, and a successor brings another."""
    while True:
        await asyncio.sleep(_LOOK_S)
        since_ns = connection.nc.refused_since_ns
        if since_ns is not None and clock.monotonic_ns() - since_ns > _REFUSED_S * 1e9:
            raise NotFit("NATS refuses its credentials: they were revoked or have expired", blameless=True)


def _load(who: Assignment) -> Function:
    """Import the bundle. Raises NotFit: whatever its code does while it is imported is no business of ours."""
    try:
        return Function.load(load_entry(who.entry, Path(who.code)))
    except MmnError as error:
        raise NotFit(str(error)) from error
    except BaseException as error:
        raise NotFit(f"cannot be loaded: {type(error).__name__}: {error}") from error


async def _test(measuring: Measuring) -> str:
    """Run the self-test. Returns what the node lacks for measuring, if anything; raises NotFit.

    A function that says it cannot measure here is sound: its jobs tell people why, or run elsewhere.
    """
    try:
        await measuring.self_test()
    except CannotMeasure as error:
        log.warning("self-test cannot measure", reason=str(error))
        return f"cannot measure here: {error}"
    except TimeoutError:
        raise NotFit("self-test: no answer within the function's own limit") from None
    except Exception as error:
        raise NotFit(f"self-test: {type(error).__name__}: {error}") from error
    return ""


async def _register(
    who: Assignment, connection: bus.Bus, function: Function, measuring: Measuring, user_key: str
) -> tuple[Service, Gate]:
    service = Service(
        connection,
        name=who.function,
        instance=who.instance,
        version=who.version,
        description=who.manifest.summary,
        metadata={
            "digest": who.digest,
            "node": who.node,
            "labels": _text(who.labels),
            "limits": _text(who.manifest.limits),
            "needs": _text(who.manifest.needs),
            "box": who.box,
            "egress": who.egress,
            # For Anchors that come later than the announcement.
            "user_key": user_key,
        },
    )
    schemas = {
        "params_schema": _text(function.params_schema),
        "result_schema": _text(function.result_schema),
    }
    slots = who.manifest.limits.concurrency
    await service.start()
    gate = await service.add(
        "call",
        subjects.call(who.function, who.instance),
        measuring.call,
        limit=slots,
        queue=slots,
        metadata=schemas,
    )
    await service.add("cancel", subjects.call_cancel(who.function, who.instance), measuring.cancel)
    await service.add("any", subjects.call_any(who.function), measuring.call_any, gate=gate, metadata=schemas)
    await connection.settle()
    return service, gate


async def _leave(service: Service, grace: float) -> None:
    """Finish what runs and unregister."""
    try:
        async with asyncio.timeout(grace + _UNFIT_GRACE_S):
            cut_off = await service.stop(grace=grace)
    except (TimeoutError, nats.errors.Error) as error:
        log.warning("service not unregistered", reason=str(error) or type(error).__name__)
    else:
        if cut_off:
            log.warning("jobs cut off", jobs=cut_off)


def _first(group: BaseExceptionGroup[MmnError]) -> MmnError:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, MmnError)
    return first


def _text(value: Any) -> str:
    return codec.encode(msgspec.to_builtins(value), codec.JSON).decode()
