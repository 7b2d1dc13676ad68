"""The Anchor's own micro service: `mmn.jobs.submit`, and beside it `mmn.jobs.cancel`.

The receipt is sent only after the job is in its stream, so an accepted job survives the kill
of any process.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import msgspec

from anchor.admission import Schemas, admit
from anchor.backpressure import Backpressure
from anchor.cancellation import Cancel
from anchor.dispatcher import Dispatcher
from anchor.lanes import Lane
from anchor.ledger import Ledger
from anchor.quotas import Account, Quotas
from anchor.registry import Registry
from anchor.twins import Twins
from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.errors import InvalidField, Refused, Unavailable
from contracts.jobs import HEADER_CLIENT, MAX_CLIENT, MAX_JOB_BYTES, Job, JobReceipt, JobRequest, job_id_of, shown
from contracts.redaction import redact_text
from contracts.service import Answer, Ask, Service, answer
from contracts.storage import NotStored, store

NAME = "anchor"
_CLOSER_LOOK_BYTES = 64 * 1024


class Submit:
    """Answers `mmn.jobs.submit`: JobRequest in, JobReceipt out, in the caller's media type."""

    def __init__(
        self,
        bus: Bus,
        registry: Registry,
        dispatcher: Dispatcher,
        ledger: Ledger,
        quotas: Quotas,
        backpressure: Backpressure,
        twins: Twins,
    ) -> None:
        self._bus = bus
        self._registry = registry
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._quotas = quotas
        self._backpressure = backpressure
        self._twins = twins
        self._schemas = Schemas()
        self.refused: Counter[str] = Counter()

    async def __call__(self, ask: Ask) -> Answer:
        """Raises Refused: 400, 404, 409, 413, 415, 429, 503."""
        try:
            return await self._submit(ask)
        except Refused as refusal:
            self.refused[refusal.reason] += 1
            raise

    async def _submit(self, ask: Ask) -> Answer:
        request = ask.decode(JobRequest)
        client = _client(ask.headers.get(HEADER_CLIENT, "")[:MAX_CLIENT])
        if request.key is None:
            job, paid, wait_ns = self._admit(request, client)
            # The lane's request for it goes out together with the job, and so it need not wait for this answer.
            lane = self._dispatcher.lanes.admitted(job)
            receipt = self._receipt(job, lane, wait_ns)
            try:
                sequence = await self._store(job, paid)
            except Refused:
                lane.withdrawn()
                raise
            lane.stored(sequence)
            await self._ledger.event(job, "accepted", sequence=sequence)
            self._twins.consider(job)
            return answer(receipt, ask.media())
        first = await self._ledger.accepted(job_id_of(client, request.key))
        if first is None:
            job, paid, wait_ns = self._admit(request, client)
            first = await self._store_once(job, paid)
            if first is None:
                self._twins.consider(job)
                return answer(self._receipt(job, self._dispatcher.lanes.admitted(job), wait_ns), ask.media())
            self._quotas.give_back(paid, clock.monotonic_ns())
        # What was written down of the first has no credentials: they make no difference.
        if first.request != shown(request):
            rule = "was used before for another request; take a new one"
            raise InvalidField("key", rule, code=409, reason="key-reused")
        receipt = self._receipt(first, self._dispatcher.lanes.of(first), self._backpressure.expected_wait_ns(first))
        return answer(msgspec.structs.replace(receipt, repeated=True), ask.media())

    def _admit(self, request: JobRequest, client: str) -> tuple[Job, list[Account], int | None]:
        """A job that may be stored, the budgets that paid for it, and its expected wait. Raises Refused."""
        job = admit(request, self._registry, self._schemas, client=client)
        wait_ns = self._backpressure.check(job)
        accounts = self._quotas.accounts(client, [target.host for target in self._schemas.targets(request)])
        self._quotas.take(accounts, clock.monotonic_ns())
        return job, accounts, wait_ns

    async def _store_once(self, job: Job, paid: list[Account]) -> Job | None:
        """Store a job with a key. Returns the job that had the key before, or None when this one is the first.

        The job is stored before its event, so an `accepted` event means a job that is durable;
        two submits at the same time are told apart by the event, and the stream drops the second job.
        """
        sequence = await self._store(job, paid, headers={"Nats-Msg-Id": job.id})
        if await self._ledger.claim(job, sequence=sequence):
            return None
        first = await self._ledger.accepted(job.id)
        if first is None:
            # A worker was faster than the claim: the job has events, but none that tells of its request.
            await self._ledger.event(job, "accepted", sequence=sequence)
        return first

    @staticmethod
    def _receipt(job: Job, lane: Lane, wait_ns: int | None) -> JobReceipt:
        return JobReceipt(
            job=job.id,
            function=job.request.function,
            place=job.place,
            accepted=job.accepted,
            deadline=job.deadline,
            queue_depth=lane.waiting,
            expected_wait_ns=wait_ns,
        )

    async def _store(self, job: Job, paid: list[Account], headers: dict[str, str] | None = None) -> int:
        """Put the job into its queue. Returns its sequence there."""
        try:
            return await self._publish(job, headers)
        except Refused:
            self._quotas.give_back(paid, clock.monotonic_ns())
            raise

    async def _publish(self, job: Job, headers: dict[str, str] | None) -> int:
        subject = subjects.queue(job.request.job_class, job.request.function, job.place)
        data = codec.encode(job, codec.MSGPACK)
        # Numbers and control characters grow when they are encoded anew, here and in the `accepted` event.
        if len(data) > _CLOSER_LOOK_BYTES and max(len(data), len(codec.encode(job, codec.JSON))) > MAX_JOB_BYTES:
            raise Refused(413, "too-large", f"params: are over the limit of {MAX_JOB_BYTES} bytes when encoded")
        try:
            return await store(self._bus, subject, data, headers=headers)
        except NotStored as error:
            if error.subject_full:
                raise self._backpressure.full(job) from error
            raise Unavailable(f"the job was not stored: {error}; submit it again") from error


@lru_cache(maxsize=4096)
def _client(name: str) -> str:
    """What is written down of who asks: few names, and each in thousands of jobs."""
    return redact_text(name)


async def register(bus: Bus, identity: str, version: str, submit: Submit, cancel: Cancel, *, limit: int) -> Service:
    """Register the Anchor as a micro service and open its endpoints."""
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
    await service.add(
        "cancel",
        subjects.CANCEL,
        cancel,
        limit=limit,
        metadata={"request": "CancelRequest", "response": "CancelReply", "spec": "contracts/spec"},
    )
    await bus.settle()
    return service
