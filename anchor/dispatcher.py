"""From the queue to a worker and to the end: every job taken ends with a stored result.

A job's message is acknowledged only after its result is stored, by the worker or by this
Anchor; until then it is kept alive by in-progress acks. If this Anchor dies, the message
comes back to another, which looks for a stored result before it runs anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog
from nats.aio.msg import Msg

from anchor import outcomes
from anchor.budget import Budget
from anchor.calls import Caller, Served, stop_call
from anchor.dealer import Dealer
from anchor.evidence import Counting
from anchor.held import Held
from anchor.lanes import Lane, Lanes
from anchor.ledger import Ledger
from anchor.registry import Instance, Registry
from anchor.slots import Slots
from contracts import clock, codec, streams, subjects
from contracts.bus import Bus
from contracts.errors import MmnError, Unavailable
from contracts.failure import Code, Failure, failed
from contracts.jobs import Call, Cancelled, Job
from contracts.pull import Delivery
from contracts.subjects import ANY_PLACE

log = structlog.get_logger(__name__)

_NS = 1_000_000_000
_REPLY_GRACE_S = 2.0
_CANCELLED_KEPT = 10_000
_LOOK_AGAIN_S = 1.0
_ACK = b"+ACK"
_IN_PROGRESS = b"+WPI"
_TERM = b"+TERM"
_NAK = b"-NAK"
_NAK_LATER = b'-NAK {"delay": 1000000000}'


class Dispatcher:
    """Owns the lanes and every job this Anchor has in hand."""

    def __init__(
        self, bus: Bus, registry: Registry, slots: Slots, ledger: Ledger, counting: Counting, *, ack_wait: float
    ) -> None:
        self._bus = bus
        self._registry = registry
        self._slots = slots
        self._ledger = ledger
        self._counting = counting
        self._ack_wait = ack_wait
        self._caller = Caller(bus, ledger.has_result)
        self._dealer = Dealer(slots)
        self.lanes = Lanes(lambda key: Lane(bus, slots, self._dealer, key, self._take, ack_wait=ack_wait), self._dealer)
        self.queue_bound = streams.QUEUE_BOUND
        self._held: dict[str, Held] = {}
        self._cancelled: dict[str, None] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._idle = asyncio.Event()
        self._stopping = False
        self._retries = Budget(floor_per_s=2.0, burst=20.0)
        # A lost worker says nothing against its jobs: they all run again, only not all in one moment.
        self._moves = Budget(floor_per_s=50.0, burst=100.0)
        self.on_twin: Callable[[Job, Served], None] = lambda _, __: None
        self.done = 0
        self.faults = 0
        registry.on_lost = self._lost
        registry.on_back = self._caller.interrupted

    @property
    def in_flight(self) -> int:
        """Jobs this Anchor has in hand."""
        return len(self._held)

    def _lost(self, instance: Instance, reason: str) -> None:
        log.info("instance lost", instance=instance.id, reason=reason)
        self._caller.lost(instance, reason)

    async def run(self) -> None:
        """Dispatch until cancelled."""
        await self._caller.open()
        await self._bus.subscribe(subjects.CANCELLED, self._told_of_cancel)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self.lanes.run(tasks)
            tasks.create_task(self._keep_alive())

    async def _told_of_cancel(self, msg: Msg) -> None:
        try:
            job = codec.decode(msg.data, Cancelled, codec.content_type(msg.headers)).job
        except MmnError as error:
            log.warning("unsound cancellation", error=str(error))
            return
        # Also for one that this Anchor is about to receive.
        self._cancelled[job] = None
        if len(self._cancelled) > _CANCELLED_KEPT:
            del self._cancelled[next(iter(self._cancelled))]
        held = self._held.get(job)
        if held is not None and not held.cancelled and self._tasks is not None:
            worker = held.cancel()
            if worker is not None:
                self._tasks.create_task(stop_call(self._bus, worker.function, worker.id, job))

    async def stop(self, *, grace: float) -> None:
        """Finish what is in hand for `grace` seconds; give the rest back to the queue at once."""
        self._stopping = True
        self._dealer.close()
        if self._held:
            self._idle.clear()
            try:
                async with asyncio.timeout(grace):
                    await self._idle.wait()
            except TimeoutError:
                log.warning("jobs given back to the queue", jobs=len(self._held))
        for held in list(self._held.values()):
            await self._answer(held.delivery, _NAK)

    async def _take(self, delivery: Delivery, permit: Instance) -> None:
        assert self._tasks is not None
        if self._stopping:
            self._slots.release(permit)
            await self._answer(delivery, _NAK)
            return
        self._tasks.create_task(self._guarded(delivery, permit))

    async def _guarded(self, delivery: Delivery, permit: Instance) -> None:
        slot = _Slot(self._slots, permit)
        try:
            job = codec.decode(delivery.data, Job, codec.MSGPACK, at="job")
        except MmnError as error:
            # Only an Anchor can publish here, so this is a bug or a newer contract: keep nothing.
            log.warning("queued message is not a job", subject=delivery.subject, error=str(error))
            slot.free()
            await self._answer(delivery, _TERM)
            return
        if job.id in self._held:
            # The stream took this Anchor for dead and delivered again; the job is in hand already.
            self._held[job.id].delivery = delivery
            slot.free()
            return
        if job.id in self._cancelled:
            slot.free()
            await self._answer(delivery, _ACK)
            return
        lane = self.lanes.of(job)
        held = self._held[job.id] = Held(delivery)
        lane.held += 1
        try:
            await held.unless_cancelled(self._execute(job, held, slot))
            await self._answer(held.delivery, _ACK)
        except Unavailable as error:
            log.warning("job goes back to the queue", job=job.id, reason=str(error))
            await self._answer(held.delivery, _NAK_LATER)
        except Exception:
            log.exception("dispatch failed", job=job.id)
            self.faults += 1
            await self._answer(held.delivery, _NAK_LATER)
        finally:
            slot.free()
            del self._held[job.id]
            lane.held -= 1
            if not self._held:
                self._idle.set()

    async def _execute(self, job: Job, held: Held, slot: _Slot) -> None:
        """Try until the job has a result. Raises Unavailable when nobody can tell or store one now.

        It is ended from outside when the job was cancelled: then it has its result.
        """
        tried = _Tried()
        look = held.delivery.delivered > 1 or job.request.key is not None
        while not held.cancelled:
            if look and await self._ledger.has_result(job.id):
                await self._ledger.event(job, "finished", reason="result was stored before")
                return
            look = False
            left = self._time_left(job)
            hopeless = self._hopeless(job, left)
            if hopeless is not None:
                await self._close(job, hopeless, tried.count)
                return
            instance = slot.instance
            if instance is None or instance.state == "down" or job.digest not in {None, instance.card.digest}:
                slot.free()
                slot.instance = await self._another(job, tried, left)
                continue
            tried.count += 1
            await self._ledger.event(job, "dispatched", instance=instance.id, attempt=tried.count)
            began_ns = clock.monotonic_ns()
            held.calling = instance
            try:
                served = await self._call(job, instance, tried.count, left)
            except MmnError as error:
                held.calling = None
                if await self._is_over(held, job, error):
                    return
                decision = self._judge(job, instance, error, tried, began_ns)
                if not (isinstance(decision, outcomes.Reroute) and decision.same):
                    slot.free()
                decision = await self._afford(decision, job)
                if isinstance(decision, outcomes.Close):
                    await self._close(job, decision.failure, tried.count)
                    return
                await self._go_on(job, instance, decision, tried)
                # A worker may store the result and be gone before it answers.
                look = True
                continue
            self._succeeded(instance, served, began_ns)
            if job.pair is not None:
                self.on_twin(job, served)
            await self._finished(job, held, instance, served, tried.count)
            return

    async def _another(self, job: Job, tried: _Tried, left: float) -> Instance | None:
        """A slot for a job that lost the one it came with."""
        return await self._slots.wait(
            job.request.function,
            job.place,
            avoid=[other.id for other in tried.failed],
            # Not for longer: its function, or the one version that will do, may be gone meanwhile.
            within=min(left, _LOOK_AGAIN_S),
            digest=job.digest,
            again=bool(tried.failed),
        )

    def _hopeless(self, job: Job, left: float) -> Failure | None:
        """Why no worker can run it any more, if so."""
        if left <= 0:
            return failed(Code.EXPIRED, "the deadline passed before a worker ran it")
        function = job.request.function
        if self._registry.deleted(function):
            return failed(Code.FUNCTION_GONE, f"{function} was removed before a worker ran it to its end")
        if not self._registry.versions(function).runs(job.digest):
            return failed(Code.FUNCTION_GONE, "the version it was to run on is gone")
        return None

    def _judge(self, job: Job, instance: Instance, error: MmnError, tried: _Tried, began_ns: int) -> outcomes.Decision:
        """Count a call that failed, and decide what follows."""
        if outcomes.is_fault(error):
            self._registry.faulted(instance, began_ns=began_ns, now_ns=clock.monotonic_ns())
        self._counting.failed(instance, error)
        decision = outcomes.after(error, attempt=tried.count, other_nodes=self._others(job, instance, tried))
        if job.digest is not None:
            return outcomes.once(decision)
        tries = self._registry.versions(instance.function).tries(instance.card.digest)
        return outcomes.on_trial(decision) if tries and len(tried.failed) < outcomes.MAX_ATTEMPTS else decision

    async def _afford(self, decision: outcomes.Decision, job: Job) -> outcomes.Decision:
        """A retry, if the budget allows; one after the loss of a worker when its turn has come."""
        if not isinstance(decision, outcomes.Retry) or decision.free:
            return decision
        now = clock.monotonic_ns()
        if decision.lost:
            turn_s = self._moves.reserve(now) / _NS
            if turn_s:
                await asyncio.sleep(max(0.0, min(turn_s, self._time_left(job))))
            return decision
        return decision if self._retries.take(now) else outcomes.unaffordable(decision)

    async def _is_over(self, held: Held, job: Job, error: MmnError) -> bool:
        """Whether a call failed because its job was cancelled: a worker's word for it needs a result as its proof."""
        return held.cancelled or (outcomes.is_cancelled(error) and await self._ledger.has_result(job.id))

    def _others(self, job: Job, instance: Instance, tried: _Tried) -> bool:
        """Whether a node that has not tried this job yet could."""
        nodes = {instance.node, *(other.node for other in tried.failed)}
        return job.place == ANY_PLACE and any(
            other.node not in nodes for other in self._registry.instances(job.request.function)
        )

    def _succeeded(self, instance: Instance, served: Served, began_ns: int) -> None:
        now = clock.monotonic_ns()
        self._counting.succeeded(instance, served, now - began_ns)
        self._registry.succeeded(
            instance, queue_ns=served.queue_ns, run_ns=served.run_ns, began_ns=began_ns, now_ns=now
        )
        self._retries.succeeded(now)
        self._moves.succeeded(now)
        self.done += 1

    async def _finished(self, job: Job, held: Held, instance: Instance, served: Served, attempt: int) -> None:
        if held.cancelled:
            return
        stored = served.reply.sequence is not None
        reason = served.reply.failure or ("" if stored else "result was stored before")
        await self._ledger.event(job, "finished", reason=reason, instance=instance.id, attempt=attempt)

    async def _go_on(
        self, job: Job, instance: Instance, decision: outcomes.Reroute | outcomes.Retry, tried: _Tried
    ) -> None:
        """Note why another call follows."""
        attempt = tried.count
        if isinstance(decision, outcomes.Retry):
            self.faults += 1
            tried.failed.append(instance)
            tried.count -= decision.free
            await self._ledger.event(job, "retried", reason=decision.reason, instance=instance.id, attempt=attempt)
            return
        tried.count -= 1
        now = clock.monotonic_ns()
        if decision.gone:
            self._registry.unheard(instance.id, decision.reason, now)
        elif decision.press_s:
            self._registry.pressed(instance, int(decision.press_s * _NS), now, full=decision.full)
        await self._ledger.event(job, "rerouted", reason=decision.reason, instance=instance.id, attempt=attempt)

    async def _call(self, job: Job, instance: Instance, attempt: int, left: float) -> Served:
        call = Call(
            job=job.id,
            params=job.request.params,
            time_left_ns=int(left * _NS),
            accepted=job.accepted,
            attempt=attempt,
            # From the id, so that the same job repeated makes the same random choices.
            seed=int(job.id.replace("-", "")[-12:], 16),
        )
        # It may wait for one slot's worth of work in the worker before it runs.
        longest = min(left, instance.card.limits.timeout * 2)
        return await self._caller.call(instance, call, within=longest + _REPLY_GRACE_S)

    async def _close(self, job: Job, failure: Failure, attempt: int) -> None:
        """Store the failure as the job's result. Raises Unavailable; the job then goes back to its queue."""
        stored = await self._ledger.close_job(job, failure, attempt=attempt)
        await self._ledger.closed(job, failure, stored=stored, attempt=attempt)

    @staticmethod
    def _time_left(job: Job) -> float:
        return (clock.epoch_ns(job.deadline) - clock.wall_ns()) / _NS

    async def _keep_alive(self) -> None:
        """Tell the stream, well within `ack_wait`, that the jobs in hand are being worked on."""
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            for held in list(self._held.values()):
                await self._answer(held.delivery, _IN_PROGRESS)

    async def _answer(self, delivery: Delivery, what: bytes) -> None:
        await self._bus.publish(delivery.msg.reply, what)

    def held(self) -> Iterator[str]:
        """Ids of the jobs in hand."""
        return iter(list(self._held))


@dataclass(slots=True)
class _Tried:
    """How often a job reached a worker, and which of them failed it."""

    count: int = 0
    failed: list[Instance] = field(default_factory=list)


class _Slot:
    """The permit a job runs on, given back once, however the job ends."""

    def __init__(self, slots: Slots, instance: Instance | None) -> None:
        self._slots = slots
        self.instance = instance

    def free(self) -> None:
        if self.instance is not None:
            self._slots.release(self.instance)
            self.instance = None
