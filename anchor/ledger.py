"""What an Anchor writes down: events of jobs, and results of jobs that no worker could finish."""

from __future__ import annotations

import base64
from typing import TypeVar

import msgspec
import nats.errors
import structlog

from contracts import clock, codec, streams, subjects
from contracts.bus import Bus
from contracts.errors import MmnError, Unavailable
from contracts.failure import Code, Failure
from contracts.jobs import EventKind, Job, JobEvent, shown
from contracts.redaction import conceal, conceal_text
from contracts.results import Result
from contracts.storage import NotStored, store

log = structlog.get_logger(__name__)
HEADER_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
HEADER_EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"


_LOOK_AT_EVENTS = 10
T = TypeVar("T")


class Ended(msgspec.Struct, frozen=True):
    """How a job ended, as far as its result can be read: `failure` is None for a plain success."""

    failure: Failure | None = None

    @property
    def code(self) -> Code | None:
        """What failed, if anything."""
        return self.failure.code if self.failure else None


class _Stored(msgspec.Struct):
    seq: int = 0
    data: str = ""
    hdrs: str = ""

    def decode(self, kind: type[T]) -> T:
        """The message as a value. Raises InvalidField or Refused."""
        data, lines = base64.b64decode(self.data), base64.b64decode(self.hdrs).decode(errors="replace").splitlines()
        pairs = (line.partition(":") for line in lines)
        media = codec.content_type({name: value.strip() for name, colon, value in pairs if colon})
        return codec.decode(data, kind, media, limit=len(data))


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Found(msgspec.Struct):
    message: _Stored | None = None
    error: _Error | None = None


class Ledger:
    """Writes under one Anchor's identity."""

    def __init__(self, bus: Bus, identity: str) -> None:
        self._bus = bus
        self.identity = identity

    async def event(
        self,
        job: Job,
        event: EventKind,
        *,
        reason: str = "",
        instance: str | None = None,
        attempt: int = 0,
        sequence: int | None = None,
    ) -> None:
        """Publish one step of a job's life. `accepted` carries the job, as all may read it, and its `sequence` in JOBS."""
        entry = self._entry(
            job,
            event,
            reason=reason,
            instance=instance,
            attempt=attempt,
            accepted=job if event == "accepted" else None,
            sequence=sequence,
        )
        await self._bus.publish(subjects.job_event(job.id), codec.encode(entry, codec.JSON))

    def _entry(
        self,
        job: Job,
        event: EventKind,
        *,
        reason: str = "",
        instance: str | None = None,
        attempt: int = 0,
        accepted: Job | None = None,
        sequence: int | None = None,
    ) -> JobEvent:
        return JobEvent(
            job=job.id,
            event=event,
            at=clock.utc_now(),
            by=self.identity,
            function=job.request.function,
            reason=conceal_text(reason),
            instance=instance,
            attempt=attempt,
            accepted=None if accepted is None else msgspec.structs.replace(accepted, request=shown(accepted.request)),
            sequence=sequence,
        )

    async def claim(self, job: Job, *, sequence: int | None = None) -> bool:
        """Publish `accepted` as the first event of this job. False when it has events already.

        Raises Unavailable when the event is not stored.
        """
        entry = self._entry(job, "accepted", accepted=job, sequence=sequence)
        subject = subjects.job_event(job.id)
        headers = {HEADER_EXPECTED: "0", HEADER_EXPECTED_SUBJECT: subject, codec.HEADER: codec.JSON}
        return await self._once(subject, codec.encode(entry, codec.JSON), headers, what=f"event of {job.id}")

    async def accepted(self, job: str) -> Job | None:
        """The job as it was accepted, if it ever was. Raises Unavailable."""
        event = await self.acceptance(job)
        return event.accepted if event is not None else None

    async def acceptance(self, job: str) -> JobEvent | None:
        """The event that carries the job as it was accepted, if it ever was. Raises Unavailable."""
        sequence, subject = 1, subjects.job_event(job)
        # It is the first event, unless a worker was faster than the event.
        for _ in range(_LOOK_AT_EVENTS):
            found = await self._look(streams.EVENTS, {"seq": sequence, "next_by_subj": subject})
            if found is None:
                return None
            event = found.decode(JobEvent)
            if event.accepted is not None:
                return event
            sequence = found.seq + 1
        return None

    async def last_event(self, job: str) -> JobEvent | None:
        """The newest event of a job. Raises Unavailable."""
        found = await self._look(streams.EVENTS, {"last_by_subj": subjects.job_event(job)})
        return None if found is None else found.decode(JobEvent)

    async def _look(self, stream: str, wish: dict[str, object]) -> _Stored | None:
        """One message of a stream, or None when there is none such. Raises Unavailable."""
        ask = msgspec.json.encode(wish)
        try:
            reply = await self._bus.request(f"$JS.API.STREAM.MSG.GET.{stream}", ask, within=5.0)
            found = msgspec.json.decode(reply.data, type=_Found)
        except (nats.errors.Error, TimeoutError, msgspec.DecodeError) as error:
            raise Unavailable(f"stream {stream} cannot be read: {type(error).__name__}") from error
        if found.error is not None and found.error.err_code != streams.ERROR_NO_MESSAGE:
            raise Unavailable(f"stream {stream} cannot be read: {found.error.description}")
        return found.message

    async def close_job(self, job: Job, failure: Failure, *, attempt: int = 0) -> bool:
        """Store the result of a job that ends without a worker's. False when it has one already.

        Raises Unavailable when nothing could be stored; the job must then stay in its queue.
        """
        result = Result(
            job=job.id,
            function=job.request.function,
            by=self.identity,
            started=clock.utc_now(),
            duration_ns=None,
            params=conceal(job.request.params),
            accepted=job.accepted,
            attempt=attempt,
            failure=msgspec.structs.replace(failure, detail=conceal_text(failure.detail)),
        )
        headers = {
            HEADER_EXPECTED: "0",
            HEADER_EXPECTED_SUBJECT: subjects.out_any(job.id),
            codec.HEADER: codec.JSON,
        }
        subject = subjects.out(job.id, self.identity)
        return await self._once(subject, codec.encode(result, codec.JSON), headers, what=f"result of {job.id}")

    async def _once(self, subject: str, data: bytes, headers: dict[str, str], *, what: str) -> bool:
        """Store a message that must be the first of its kind. False when there was one before."""
        try:
            await store(self._bus, subject, data, headers=headers)
        except NotStored as error:
            if error.came_second:
                return False
            raise Unavailable(f"{what} not stored: {error}") from error
        return True

    async def closed(self, job: Job, failure: Failure, *, stored: bool, attempt: int = 0) -> None:
        """Publish how a job ended that `close_job` closed."""
        reason = f"{failure.code}: {failure.detail}" if stored else "result was stored before"
        if failure.code is Code.EXPIRED:
            await self.event(job, "expired", reason=reason, attempt=attempt)
        else:
            await self.event(job, "finished", reason=reason, attempt=attempt)

    async def has_result(self, job: str) -> bool:
        """Whether the job's result is stored, whoever stored it. Raises Unavailable."""
        return await self._look(streams.RESULTS, {"last_by_subj": subjects.out_any(job)}) is not None

    async def result(self, job: str) -> Result | None:
        """The job's result, if it is stored. Raises Unavailable, or MmnError when it cannot be read."""
        found = await self._look(streams.RESULTS, {"last_by_subj": subjects.out_any(job)})
        return None if found is None else found.decode(Result)

    async def ended(self, job: str) -> Ended | None:
        """How the job ended, or None while it has no result. Raises Unavailable."""
        found = await self._look(streams.RESULTS, {"last_by_subj": subjects.out_any(job)})
        if found is None:
            return None
        try:
            return found.decode(Ended)
        except MmnError as error:
            # A worker may store what it likes: the job has ended all the same.
            log.warning("unreadable result", job=job, reason=str(error))
            return Ended()
