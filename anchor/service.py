"""The Anchor's own micro service: `mmn.jobs.submit`.

The receipt is sent only after the job is in its stream, so an accepted job survives the kill
of any process.
"""

from __future__ import annotations

import msgspec
import nats.errors
from nats.js.errors import APIError, NoStreamResponseError

from anchor.admission import Schemas, admit
from anchor.dispatcher import Dispatcher
from anchor.lanes import Lane
from anchor.ledger import Ledger
from anchor.registry import Registry
from contracts import codec, streams, subjects
from contracts.bus import Bus
from contracts.errors import InvalidField, Refused, Unavailable
from contracts.jobs import HEADER_CLIENT, MAX_JOB_BYTES, Job, JobReceipt, JobRequest, job_id_of
from contracts.logs import redact_text
from contracts.service import Answer, Ask, Service, answer
from contracts.subjects import ANY_PLACE

NAME = "anchor"
_MAX_CLIENT = 128
_CLOSER_LOOK_BYTES = 64 * 1024


class Submit:
    """Answers `mmn.jobs.submit`: JobRequest in, JobReceipt out, in the caller's media type."""

    def __init__(self, bus: Bus, registry: Registry, dispatcher: Dispatcher, ledger: Ledger) -> None:
        self._bus = bus
        self._registry = registry
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._schemas = Schemas()

    async def __call__(self, ask: Ask) -> Answer:
        """Raises Refused: 400, 404, 409, 413, 415, 429, 503."""
        request = ask.decode(JobRequest)
        client = redact_text(ask.headers.get(HEADER_CLIENT, "")[:_MAX_CLIENT])
        if request.key is None:
            job = admit(request, self._registry, self._schemas, client=client)
            await self._store(job)
            await self._ledger.event(job, "accepted")
            return answer(self._receipt(job, self._dispatcher.admitted(job)), ask.media())
        first = await self._ledger.accepted(job_id_of(client, request.key))
        if first is None:
            job = admit(request, self._registry, self._schemas, client=client)
            first = await self._store_once(job)
            if first is None:
                return answer(self._receipt(job, self._dispatcher.admitted(job)), ask.media())
        if first.request != request:
            rule = "was used before for another request; take a new one"
            raise InvalidField("key", rule, code=409, reason="key-reused")
        receipt = self._receipt(first, self._dispatcher.lane_of(first))
        return answer(msgspec.structs.replace(receipt, repeated=True), ask.media())

    async def _store_once(self, job: Job) -> Job | None:
        """Store a job with a key. Returns the job that had the key before, or None when this one is the first.

        The job is stored before its event, so an `accepted` event means a job that is durable;
        two submits at the same time are told apart by the event, and the stream drops the second job.
        """
        await self._store(job, headers={"Nats-Msg-Id": job.id})
        if await self._ledger.claim(job):
            return None
        first = await self._ledger.accepted(job.id)
        if first is None:
            # A worker was faster than the claim: the job has events, but none that tells of its request.
            await self._ledger.event(job, "accepted")
        return first

    def _receipt(self, job: Job, lane: Lane) -> JobReceipt:
        node = None if job.place == ANY_PLACE else job.place
        ahead = lane.waiting - 1 + lane.held
        return JobReceipt(
            job=job.id,
            function=job.request.function,
            place=job.place,
            accepted=job.accepted,
            deadline=job.deadline,
            queue_depth=lane.waiting,
            expected_wait_ns=self._registry.expected_wait_ns(job.request.function, ahead, node=node),
        )

    async def _store(self, job: Job, headers: dict[str, str] | None = None) -> None:
        subject = subjects.queue(job.request.job_class, job.request.function, job.place)
        data = codec.encode(job, codec.MSGPACK)
        # Numbers and control characters grow when they are encoded anew, here and in the `accepted` event.
        if len(data) > _CLOSER_LOOK_BYTES and max(len(data), len(codec.encode(job, codec.JSON))) > MAX_JOB_BYTES:
            raise Refused(413, "too-large", f"params: are over the limit of {MAX_JOB_BYTES} bytes when encoded")
        try:
            await self._bus.js.publish(subject, data, headers=headers)
        except APIError as error:
            if error.err_code == streams.ERROR_SUBJECT_FULL:
                wait = self._registry.expected_wait_ns(job.request.function, streams.QUEUE_BOUND)
                raise Refused(
                    429,
                    "queue-full",
                    f"the queue of {job.request.function} at {job.place} is full; try again later",
                    retry_after=min(60.0, max(1.0, (wait or 0) / 1e9 / 10)),
                ) from error
            raise Unavailable(f"the job was not stored: {error.description}") from error
        except (nats.errors.Error, NoStreamResponseError, TimeoutError) as error:
            raise Unavailable(f"the job was not stored: {type(error).__name__}; submit it again") from error


async def register(bus: Bus, identity: str, version: str, submit: Submit, *, limit: int) -> Service:
    """Register the Anchor as a micro service and open its endpoint."""
    service = Service(
        bus,
        name=NAME,
        instance=identity,
        version=version,
        description="Admits jobs, queues them and routes them to measurement workers",
    )
    await service.start()
    await service.add(
        "submit",
        subjects.SUBMIT,
        submit,
        limit=limit,
        metadata={"request": "JobRequest", "response": "JobReceipt", "spec": "contracts/spec"},
    )
    await bus.settle()
    return service
