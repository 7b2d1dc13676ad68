"""A worker's side of a call: check it, run the function, store the one result, answer.

What a function measured is stored, also when the target did not answer. What it could not measure is
refused with a reason, nothing is stored, and the Anchor decides what follows:

    400 wrong parameters    403 not through the export    408 its time is over    410 cancelled
    424 cannot measure here    429 every slot taken       500 the function raised
    503 the result could not be stored                    504 the function ran past its limit
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import structlog
from msgspec import Struct, field

from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.errors import CannotMeasure, InvalidField, Refused
from contracts.failure import Code, Failure, failed
from contracts.jobs import (
    CANCELLED_CODE,
    HEADER_QUEUE_NS,
    HEADER_RUN_NS,
    Call,
    CallReply,
    Cancelled,
    StopReply,
    new_job_id,
)
from contracts.modules import HEADER_PROBE
from contracts.redaction import conceal, redact_text
from contracts.results import Quality, Result
from contracts.service import Answer, Ask, answer
from contracts.storage import NotStored, store
from runtime.channel import Assignment
from runtime.containment import Stopped, contained
from runtime.lag import LagHistory
from runtime.outbox import JobProgress, Outbox
from runtime.sdk.breakers import Breakers
from runtime.sdk.context import JobContext
from runtime.sdk.function import Function
from runtime.sdk.icmp import IcmpSockets
from runtime.sdk.measured import Measured

log = structlog.get_logger(__name__)

MAX_RESULT_BYTES = 900 * 1024
STORE_AT_LEAST_S = 5.0
_STORE_TRY_S = 2.0
_S = 1_000_000_000
_CANCELLED_KEPT = 1024


class AdHoc(Struct, frozen=True, kw_only=True):
    """A request to any worker, made by hand: `{"params": {...}}`, or a whole Call.

    Without `job` it gets an id of its own, and is answered with the whole result.
    """

    params: dict[str, Any] = field(default_factory=dict)
    job: str | None = None
    time_left_ns: int | None = None
    accepted: str | None = None
    attempt: int = 1
    seed: int = 0
    v: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stored result. `sequence` is None when another attempt had stored one before."""

    result: Result
    sequence: int | None
    run_ns: int


class _Running:
    """A job that runs: `ended` gets what became of it, `stop` is set when it was cancelled."""

    __slots__ = ("ended", "stop")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Outcome | Refused] = loop.create_future()
        self.stop: asyncio.Future[None] = loop.create_future()


class Measuring:
    """Runs the calls of one worker. `unfit` holds a reason as soon as the worker should not go on."""

    def __init__(self, bus: Bus, function: Function, who: Assignment, *, sockets: IcmpSockets, lag: LagHistory) -> None:
        self._bus = bus
        self._function = function
        self._who = who
        self._sockets = sockets
        self._lag = lag
        # Bound here once: the first binding of a logger puts its whole configuration together.
        self._log = log.bind(function=who.function)
        self._judge = who.targets.judge()
        self._running: dict[str, _Running] = {}
        self._cancelled: dict[str, None] = {}
        self.breakers = Breakers()
        self.outbox = Outbox(bus)
        self.unfit: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.done = 0
        self.faults = 0

    async def call(self, ask: Ask) -> Answer:
        """Handle a directed call, or the question whether calls arrive here."""
        _check_origin(ask)
        if HEADER_PROBE in ask.headers:
            return answer(CallReply(job="", instance=self._who.instance))
        call = ask.decode(Call)
        outcome, queue_ns = await self._once(call, ask.arrived_ns)
        return self._reply(outcome, queue_ns, ask.media())

    async def call_any(self, ask: Ask) -> Answer:
        """Handle a call to whichever worker NATS chose."""
        _check_origin(ask)
        body = ask.decode(AdHoc) if ask.data else AdHoc()
        codec.check_plain(body.params, at="params")
        call = Call(
            job=body.job or new_job_id(),
            params=body.params,
            time_left_ns=int(self._who.manifest.limits.timeout * _S)
            if body.time_left_ns is None
            else body.time_left_ns,
            accepted=body.accepted or clock.utc_now(),
            attempt=body.attempt,
            seed=body.seed,
        )
        outcome, queue_ns = await self._once(call, ask.arrived_ns)
        if body.job is None:
            return answer(outcome.result, ask.media(), _times(outcome, queue_ns))
        return self._reply(outcome, queue_ns, ask.media())

    async def cancel(self, ask: Ask) -> Answer:
        """End a job that runs here; one that still waits for a slot will not be run."""
        _check_origin(ask)
        job = ask.decode(Cancelled).job
        running = self._running.get(job)
        if running is not None and not running.stop.done():
            running.stop.set_result(None)
        self._cancelled[job] = None
        if len(self._cancelled) > _CANCELLED_KEPT:
            del self._cancelled[next(iter(self._cancelled))]
        return answer(StopReply(job=job, instance=self._who.instance, found=running is not None), ask.media())

    async def self_test(self) -> None:
        """Run the function with the manifest's own parameters. Raises whatever keeps it from answering."""
        manifest = self._who.manifest
        params = self._function.decode(manifest.self_test)
        timeout_ns = int(manifest.limits.timeout * _S)
        call = Call(job="self-test", params={}, time_left_ns=timeout_ns)
        judge = self._who.targets.with_loopback().judge()
        ctx = self._context(call, timeout_ns, lambda _: None, judge)
        await contained(self._function.call(params, ctx), manifest.limits.timeout, on_stubborn=self._stubborn)

    def _reply(self, outcome: Outcome, queue_ns: int, media: str) -> Answer:
        reply = CallReply(
            job=outcome.result.job,
            instance=self._who.instance,
            failure=outcome.result.failure.code.value if outcome.result.failure else None,
            sequence=outcome.sequence,
        )
        return answer(reply, media, _times(outcome, queue_ns))

    async def _once(self, call: Call, arrived_ns: int) -> tuple[Outcome, int]:
        """Run a job, or join it if it is running here already."""
        subjects.token(call.job, at="job")
        queue_ns = clock.monotonic_ns() - arrived_ns
        running = self._running.get(call.job)
        if running is None:
            if call.job in self._cancelled:
                raise _cancelled()
            running = self._running[call.job] = _Running()
            ended: Outcome | Refused = Refused(503, "stopped", "this instance stopped the job", retry_after=0.05)
            try:
                ended = await self._run(call, arrived_ns, running.stop)
            except Refused as refusal:
                ended = refusal
            finally:
                del self._running[call.job]
                running.ended.set_result(ended)
        else:
            # Shielded: a caller that goes away takes the job from nobody else.
            ended = await asyncio.shield(running.ended)
        if isinstance(ended, Refused):
            raise ended
        return ended, queue_ns

    async def _run(self, call: Call, arrived_ns: int, stop: asyncio.Future[None]) -> Outcome:
        params = self._function.decode(call.params)
        started, begun_ns = clock.utc_now(), clock.monotonic_ns()
        left_ns = call.time_left_ns - (begun_ns - arrived_ns)
        if left_ns <= 0:
            raise Refused(408, "expired", "the job's time was over before it could start")
        budget_ns = min(left_ns, int(self._who.manifest.limits.timeout * _S))
        progress = JobProgress(self.outbox, job=call.job, instance=self._who.instance, function=self._who.function)
        ctx = self._context(call, budget_ns, progress, self._judge)
        try:
            measured = await contained(
                self._function.call(params, ctx), budget_ns / _S, stop=stop, on_stubborn=self._stubborn
            )
            run_ns = clock.monotonic_ns() - begun_ns
            data = None if measured.data is None else msgspec.to_builtins(measured.data)
        except TimeoutError:
            if budget_ns == left_ns:
                raise Refused(408, "expired", "the job's time was over while it was measured") from None
            self.faults += 1
            limit = self._who.manifest.limits.timeout
            raise Refused(504, "worker-timeout", f"the function ran past its limit of {limit:g} s") from None
        except Stopped:
            raise _cancelled() from None
        except InvalidField:
            raise
        except Exception as error:
            raise self._refusal(error, call) from error
        result = self._result(call, params, measured, data, started=started, begun_ns=begun_ns, run_ns=run_ns)
        await self.outbox.flush()
        sequence, result = await self._store(result, arrived_ns + call.time_left_ns)
        self.done += 1
        return Outcome(result, sequence, run_ns)

    def _context(self, call: Call, budget_ns: int, progress: Any, judge: Callable[[str], Failure | None]) -> JobContext:
        return JobContext(
            job=call.job,
            node=self._who.node,
            deadline_ns=clock.monotonic_ns() + budget_ns,
            log=self._log.bind(job=call.job),
            sockets=self._sockets,
            breakers=self.breakers,
            attempt=call.attempt,
            seed=call.seed,
            labels=self._who.labels,
            on_progress=progress,
            policy=judge,
        )

    def _stubborn(self) -> None:
        if not self.unfit.done():
            self.unfit.set_result("a job could not be cancelled")

    def _refusal(self, error: Exception, call: Call) -> Refused:
        cause = _cannot_measure(error)
        if cause is not None:
            return Refused(424, cause.code.value, redact_text(str(cause)))
        self.faults += 1
        log.error("function failed", job=call.job, function=self._who.function, exc_info=error)
        text = redact_text(f"{type(error).__name__}: {error}")
        return Refused(500, "worker-fault", text[:500])

    def _result(
        self,
        call: Call,
        params: Struct,
        measured: Measured[Any],
        data: dict[str, Any] | None,
        *,
        started: str,
        begun_ns: int,
        run_ns: int,
    ) -> Result:
        own = measured.quality or Quality()
        lag_ns = max(self._lag.since(begun_ns), own.loop_lag_ns or 0)
        return Result(
            job=call.job,
            function=self._who.function,
            by=self._who.instance,
            started=started,
            duration_ns=run_ns,
            version=self._who.version,
            digest=self._who.digest,
            node=self._who.node,
            labels=self._who.labels,
            # What a person typed into a URL or a header must not be read by all who may read results, nor what a target sent back.
            params=conceal(self._function.encode(params)),
            accepted=call.accepted,
            attempt=call.attempt,
            target=conceal(measured.target),
            address=measured.address,
            clock=clock.clock_quality(),
            stamps=measured.stamps,
            quality=msgspec.structs.replace(own, loop_lag_ns=lag_ns),
            failure=_concealed(measured.failure),
            data=conceal(data),
            metrics=measured.metrics,
            provenance=self._who.provenance,
        )

    async def _store(self, result: Result, deadline_ns: int) -> tuple[int | None, Result]:
        """Publish the result and wait until it is durable. Returns its sequence, and what was stored.

        Sequence None: somebody had stored a result of this job before, which is just as good.
        """
        data = codec.encode(result, codec.JSON)
        if len(data) > MAX_RESULT_BYTES:
            detail = f"the result has {len(data)} bytes, over the limit of {MAX_RESULT_BYTES}"
            result = msgspec.structs.replace(
                result, data=None, metrics=[], failure=failed(Code.RESULT_TOO_LARGE, detail, stage="store")
            )
            data = codec.encode(result, codec.JSON)
        subject = subjects.out(result.job, self._who.instance)
        headers = {
            "Nats-Expected-Last-Subject-Sequence": "0",
            "Nats-Expected-Last-Subject-Sequence-Subject": subjects.out_any(result.job),
        }
        # A result that exists is worth storing, even when the caller no longer waits for it.
        until_ns = max(deadline_ns, clock.monotonic_ns() + int(STORE_AT_LEAST_S * _S))
        pause = 0.1
        while True:
            try:
                return await store(self._bus, subject, data, headers=headers, within=_STORE_TRY_S), result
            except NotStored as error:
                if error.came_second:
                    return None, result
                problem = str(error)
            if clock.monotonic_ns() + int(pause * _S) > until_ns:
                log.error("result not stored", job=result.job, reason=problem)
                raise Refused(503, "not-stored", "the result could not be stored", retry_after=1.0)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)


def _cancelled() -> Refused:
    return Refused(CANCELLED_CODE, "cancelled", "the job was cancelled")


def _check_origin(ask: Ask) -> None:
    if not ask.reply.startswith(subjects.REPLY_FROM_MANAGE):
        raise Refused(403, "not-through-export", "a call must come from account MANAGE")


def _concealed(failure: Failure | None) -> Failure | None:
    return None if failure is None else msgspec.structs.replace(failure, detail=conceal(failure.detail))


def _times(outcome: Outcome, queue_ns: int) -> dict[str, str]:
    return {HEADER_QUEUE_NS: str(queue_ns), HEADER_RUN_NS: str(outcome.run_ns)}


def _cannot_measure(error: Exception) -> CannotMeasure | None:
    """The CannotMeasure that an exception is, or that a group of the function's tasks is made of."""
    if isinstance(error, CannotMeasure):
        return error
    if isinstance(error, ExceptionGroup) and error.split(CannotMeasure)[1] is None:
        return _cannot_measure(error.exceptions[0])
    return None
