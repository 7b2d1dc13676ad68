"""The endpoint `mmn.jobs.cancel`. A job is cancelled in the moment its result says so.

Storing that result is the decision, and it succeeds once: a worker that finishes in the same
moment has either stored the job's result before, or finds that it has one. What follows only
saves work, may be lost, and may be done twice: the queued message is deleted, every Anchor lets
go of the job, and the worker that runs it ends it.
"""

from __future__ import annotations

import asyncio

import nats.errors
import structlog

from anchor.calls import stop_call
from anchor.ledger import Ended, Ledger
from anchor.queue import Queue
from contracts import codec, subjects
from contracts.bus import Bus
from contracts.errors import MmnError, Refused, Unavailable
from contracts.failure import Code, Failure, failed
from contracts.jobs import HEADER_CLIENT, MAX_CLIENT, Cancelled, CancelReply, CancelRequest, Job, JobEvent
from contracts.redaction import redact_text
from contracts.service import Answer, Ask, answer

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = (0.05, 0.2)
"""The event of a job whose receipt has just been sent may still be on its way to its stream."""


class Cancel:
    """Answers `mmn.jobs.cancel`: CancelRequest in, CancelReply out, in the caller's media type."""

    def __init__(self, bus: Bus, ledger: Ledger) -> None:
        self._bus = bus
        self._ledger = ledger
        self._queue = Queue(bus)

    async def __call__(self, ask: Ask) -> Answer:
        """Raises Refused: 400, 404, 413, 415; Unavailable when nobody can tell or store now."""
        request = ask.decode(CancelRequest)
        before = await self._ledger.ended(request.job)
        told = await self._acceptance(request.job, patient=before is None)
        job = told.accepted if told is not None else None
        if before is None:
            if job is None:
                raise Refused(404, "no-such-job", f"job: there is no job {request.job}")
            before = await self._close(job, _failure(request, ask.headers.get(HEADER_CLIENT, "")))
        reply = _reply(request.job, before)
        if reply.state == "cancelled" and job is not None and told is not None:
            await self._let_go(job, told.sequence)
        return answer(reply, ask.media())

    async def _acceptance(self, job: str, *, patient: bool) -> JobEvent | None:
        told = await self._ledger.acceptance(job)
        for pause in _LOOK_AGAIN_S if patient else ():
            if told is not None:
                break
            await asyncio.sleep(pause)
            told = await self._ledger.acceptance(job)
        return told

    async def _close(self, job: Job, failure: Failure) -> Ended | None:
        """Store the result. Returns None when that was done, else how the job had ended before."""
        if not await self._ledger.close_job(job, failure):
            before = await self._ledger.ended(job.id)
            if before is None:
                raise Unavailable(f"the result of {job.id} cannot be read; try again")
            return before
        await self._ledger.event(job, "cancelled", reason=failure.detail, instance=await self._worker_of(job))
        return None

    async def _worker_of(self, job: Job) -> str | None:
        """Who has the job, by its newest event. One that is being dispatched now is known to its Anchor."""
        try:
            last = await self._ledger.last_event(job.id)
        except MmnError:
            return None
        return last.instance if last is not None and last.event in {"dispatched", "cancelled"} else None

    async def _let_go(self, job: Job, sequence: int | None) -> None:
        """Save the work that is left. A trouble here changes nothing of what was decided."""
        try:
            await self._bus.publish(subjects.CANCELLED, codec.encode(Cancelled(job=job.id), codec.JSON))
            if sequence is not None:
                waiting = await self._queue.at(sequence)
                if waiting is not None and waiting.job().id == job.id:
                    await self._queue.delete(sequence)
            worker = await self._worker_of(job)
            if worker is not None:
                await stop_call(self._bus, job.request.function, worker, job.id)
        except (MmnError, nats.errors.Error, TimeoutError) as error:
            log.info("a cancelled job may still run", job=job.id, reason=str(error) or type(error).__name__)


def _failure(request: CancelRequest, client: str) -> Failure:
    who = redact_text(client[:MAX_CLIENT]) or "an operator"
    reason = redact_text(request.reason)
    return failed(Code.CANCELLED, f"by {who}: {reason}" if reason else f"by {who}")


def _reply(job: str, before: Ended | None) -> CancelReply:
    """What the caller is told; `before` is how the job had ended already."""
    if before is None:
        return CancelReply(job=job, state="cancelled", failure=Code.CANCELLED)
    if before.code is Code.CANCELLED:
        return CancelReply(job=job, state="cancelled", failure=Code.CANCELLED, repeated=True)
    return CancelReply(job=job, state="ended", failure=before.code)
