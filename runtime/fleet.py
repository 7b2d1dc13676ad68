"""The workers of a node: makes the reconciler's decisions happen, watches, announces, restarts."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from typing import Any

import nkeys
import structlog

from contracts import clock
from contracts.access import tokens
from contracts.access.provision import mint_worker
from contracts.bus import Bus, read_ca
from contracts.functions import Deployment
from contracts.modules import Announcement, WorkerEvent, new_instance
from contracts.redaction import redact_text
from runtime import scratch
from runtime.box.kernel import files_as
from runtime.bundles import Bundle, Bundles, NoBundle
from runtime.channel import Assignment
from runtime.egress import NotEnforced
from runtime.forks import CannotFork
from runtime.isolation import Isolation
from runtime.lives import Lives
from runtime.news import News
from runtime.reconciler import DrainWorker, Running, StartWorker, Wish, begun_or_ended, changed, reconcile
from runtime.sdk.icmp import IcmpSockets
from runtime.settings import Settings
from runtime.troubles import Troubles
from runtime.watch import Watch
from runtime.workers import Ending, Worker

log = structlog.get_logger(__name__)

START_S = 10.0
_TICK_S = 0.1
_LATE_S = 0.2
_SLOW_TICKS = 10
_RENEW_AT = 1 / 2
"""What is left of an hour then is longer than any answer under way may take (`roles.REPLY_TTL_S`)."""
_KILL_AFTER_S = 2.0
_S = 1_000_000_000


class Fleet:
    """Runs the workers that should run. `set_wish` and `drain` say what should; the rest follows."""

    def __init__(self, bus: Bus, settings: Settings, signer: nkeys.KeyPair) -> None:
        self._bus = bus
        self._settings = settings
        self._signer = signer
        self._targets = settings.targets()
        self._ca = read_ca(settings.nats_ca)
        self._bundles = Bundles(bus, settings.state_dir / "bundles", settings.authors())
        self._scratch = settings.state_dir / "scratch"
        # What a killed runtime's workers have left.
        scratch.remove(self._scratch)
        self._scratch.mkdir(parents=True, exist_ok=True)
        # To be passed through by the users of workers, and listed by none.
        self._scratch.chmod(0o711)
        self.isolation = Isolation(settings, self._targets, self._scratch, settings.state_dir / "bundles")
        self._watch = Watch(settings, self.isolation.forks)
        self.workers: dict[str, Worker] = {}
        self.troubles = Troubles()
        self.draining = False
        self._wishes: dict[str, Wish] = {}
        self._good: dict[str, Deployment] = {}
        self._lives = Lives()
        self._poke = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._tasks: asyncio.TaskGroup | None = None
        self._news = News(bus, settings.node)

    # --- what should run -------------------------------------------------------------------------------------

    def set_wish(self, function: str, deployment: Deployment | None) -> None:
        """Take over the deployment of a function, or None when it was deleted."""
        before = self._wishes.get(function)
        if deployment is None:
            self._wishes.pop(function, None)
            self._good.pop(function, None)
            self._forget(function)
        else:
            epoch, fallback = before.epoch if before else 0, self._fallback(deployment)
            if any(one.phase == "ready" and one.slot.digest == deployment.digest for one in self._of(function)):
                # It became ready while it was on its way.
                self._good[function] = deployment
            self._wishes[function] = Wish(deployment, epoch, fallback)
            if before is None or changed(before.deployment, deployment):
                self._forget(function)
            else:
                for digest in begun_or_ended(before.deployment, deployment):
                    self._forget(function, digest)
        self._poke.set()

    def _of(self, function: str) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.slot.function == function]

    def _fallback(self, deployment: Deployment) -> Deployment | None:
        good = self._good.get(deployment.function)
        return None if good is None or good.digest == deployment.digest else good

    def _forget(self, function: str, digest: str | None = None) -> None:
        self.troubles.forget(function, digest)
        self._lives.forget(function, digest)

    def restart(self, function: str | None = None) -> bool:
        """Replace every worker of a function, or of all, each by a ready one. Returns whether there is such a function."""
        names = list(self._wishes) if function is None else [function]
        if not all(name in self._wishes for name in names):
            return False
        for name in names:
            wish = self._wishes[name]
            self._wishes[name] = Wish(wish.deployment, wish.epoch + 1, wish.fallback)
            self._forget(name)
        self._poke.set()
        return True

    def _renew(self) -> None:
        for function in list(self._wishes):
            self.restart(function)

    def drain(self, *, on: bool = True) -> None:
        """Take no more work on this node, or take it again."""
        self.draining = on
        self._poke.set()

    def _wanted(self) -> set[str]:
        wished = [*(wish.deployment for wish in self._wishes.values()), *self._good.values()]
        return {one.digest for one in wished} | {worker.slot.digest for worker in self.workers.values()}

    async def tidy(self) -> None:
        """Remove bundles that no longer serve. Only once all deployments are known."""
        await self._bundles.prune(self._wanted, self._wishes.keys())

    # --- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the right workers running until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.isolation.forks.run())
            await self.isolation.open()
            tasks.create_task(self._reconcile())
            tasks.create_task(self.isolation.keep(self._renew))
            tasks.create_task(self._watch.run(self.workers))
            tasks.create_task(self._judge())
            tasks.create_task(self._news.run())

    async def stop(self, within: float) -> None:
        """Drain everything for at most so many seconds, then kill."""
        self.drain()
        for worker in list(self.workers.values()):
            self._drain(worker, "the runtime stops", within)
        pending = [worker.ended for worker in self.workers.values()]
        if pending:
            await asyncio.wait(pending, timeout=within)
        for worker in list(self.workers.values()):
            worker.kill(f"not finished within {within:g} s: killed")
        late = [worker.ended for worker in self.workers.values() if not worker.ended.done()]
        if late:
            await asyncio.wait(late, timeout=_KILL_AFTER_S)
        try:
            async with asyncio.timeout(_KILL_AFTER_S):
                await self._empty.wait()
        except TimeoutError:
            log.warning("workers left behind", workers=list(self.workers))
        await self.isolation.close()
        await self._news.flush()

    async def _reconcile(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._poke.clear()
            now = loop.time()
            held = self._lives.held(now)
            wishes = {} if self.draining else self._wishes
            running = [Running(worker.instance, worker.slot, worker.phase) for worker in self.workers.values()]
            for action in reconcile(wishes, running, self._settings.labels, held=held, given_up=self._lives.given_up):
                match action:
                    case StartWorker():
                        self._start(action)
                    case DrainWorker():
                        worker = self.workers[action.instance]
                        reason = "the node is draining" if self.draining else action.reason
                        self._drain(worker, reason, self._grace(worker))
            due = min(self._lives.held(now).values(), default=None)
            try:
                async with asyncio.timeout(None if due is None else due - now):
                    await self._poke.wait()
            except TimeoutError:
                continue

    def _grace(self, worker: Worker) -> float:
        return (worker.card.limits.timeout if worker.card else 0.0) + 1.0

    def _drain(self, worker: Worker, reason: str, grace: float) -> None:
        if worker.asked or worker.ended.done():
            return
        self._say(worker, "draining", reason)
        worker.why = reason
        worker.drain(grace)
        asyncio.get_running_loop().call_later(
            grace + _KILL_AFTER_S, worker.kill, f"not drained within {grace + _KILL_AFTER_S:g} s: killed"
        )

    def _start(self, action: StartWorker) -> None:
        instance = new_instance(self._settings.node)

        def mint(key: str) -> str:
            if not key.startswith("U"):
                raise ValueError("not a user's public key")
            tokens.raw_public(key)
            lifetime = self._settings.worker_lifetime_s
            worker.renew_at_ns = clock.monotonic_ns() + int(lifetime * _RENEW_AT * _S)
            return mint_worker(
                self._signer,
                account_key=self._settings.measure_account,
                function=action.slot.function,
                suffix=instance.partition("_")[2],
                user_key=key,
                lifetime_s=lifetime,
            )

        worker = Worker(
            instance,
            action.slot,
            action.deployment.version,
            mint=mint,
            on_ready=lambda worker: self._ready(worker, action.deployment),
            on_failed=self._killed,
        )
        self.workers[instance] = worker
        self._empty.clear()
        assert self._tasks is not None
        self._tasks.create_task(self._live(worker, action.deployment))

    async def _live(self, worker: Worker, deployment: Deployment) -> None:
        try:
            await self._launch(worker, deployment)
            ending = await worker.ended
        except (NoBundle, CannotFork, NotEnforced) as error:
            for_good = isinstance(error, NoBundle) and error.for_good
            ending = worker.abandoned(str(error), blameless=not for_good)
        except OSError as error:
            ending = worker.abandoned(f"cannot be started: {error}", blameless=True)
        except Exception:
            # One worker's trouble must not end the others.
            log.exception("worker not started", worker=worker.instance, function=worker.slot.function)
            ending = worker.abandoned("internal error; the log of the runtime says more", blameless=False)
        finally:
            worker.close()
            del self.workers[worker.instance]
        self._ended(worker, ending)
        if worker.scratch is not None:
            await asyncio.to_thread(scratch.remove, worker.scratch)
        if not self.workers:
            self._empty.set()

    async def _launch(self, worker: Worker, deployment: Deployment) -> None:
        """Fetch the bundle, fork, and give the worker its time to become ready."""
        bundle = await self._bundles.get(deployment)
        self.isolation.admit(bundle)
        if not worker.is_wanted():
            raise CannotFork("not wanted any more")
        assignment = self._assignment(worker, bundle)
        spec = await self.isolation.box_for(assignment)
        limits = assignment.manifest.limits
        with ExitStack() as handed_over:
            sockets = IcmpSockets()
            handed_over.callback(sockets.close)
            if "icmp" in assignment.manifest.needs:
                with files_as(spec.user):
                    sockets.open_all()
            pair, output = worker.prepare(assignment, spec.user)
            handed_over.callback(os.close, output)
            handed_over.enter_context(pair)
            process = await self.isolation.forks.fork(spec, [output, pair.fileno(), *sockets.filenos()])
        worker.forked(process)
        self._say(worker, "started")
        timeout = START_S + (limits.timeout if assignment.manifest.self_test else 0.0)
        either: set[asyncio.Future[Any]] = {worker.ready, worker.ended}
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not worker.ready.done():
            worker.kill(f"not ready within {timeout:g} s: killed")

    def _assignment(self, worker: Worker, bundle: Bundle) -> Assignment:
        return Assignment(
            function=bundle.info.function,
            version=bundle.info.version,
            digest=bundle.info.digest,
            instance=worker.instance,
            node=self._settings.node,
            labels=self._settings.labels,
            manifest=bundle.info.manifest,
            code=str(bundle.code.resolve()),
            entry=bundle.info.entry,
            scratch=str(self._scratch / worker.instance),
            box=self.isolation.state.level,
            egress=self.isolation.state.egress,
            gaps=list(self.isolation.state.gaps),
            nats_url=self._settings.nats_url,
            targets=self._targets,
            nats_ca=self._ca,
            log_level=self._settings.log_level,
            provenance=bundle.provenance,
        )

    # --- what happened ---------------------------------------------------------------------------------------

    def _ready(self, worker: Worker, deployment: Deployment) -> None:
        self._say(worker, "ready", worker.note)
        self.troubles.over(worker.slot)
        self._lives.ready(worker.slot)
        wish = self._wishes.get(deployment.function)
        if wish is not None and wish.deployment.digest == deployment.digest:
            self._good[deployment.function] = deployment
        self._poke.set()

    def _killed(self, worker: Worker, reason: str) -> None:
        # The life that ends now is not in the books yet.
        self._say(worker, "failed", reason, short_lives=self._lives.short(worker.slot, worker.lifetime))

    def _ended(self, worker: Worker, ending: Ending) -> None:
        self._poke.set()
        if ending.asked:
            # People want to know why it went, not with which code.
            self._say(worker, "stopped" if ending.clean else "failed", worker.why if ending.clean else ending.reason)
            return
        now, slot = asyncio.get_running_loop().time(), worker.slot
        end = self._lives.ended(slot, worker.lifetime, now, blameless=ending.blameless)
        reason = ending.reason if end is None else f"{end.reason}; the last one: {ending.reason}"
        self.troubles.failed(slot, worker.version, redact_text(reason), given_up=end is not None)
        if end is not None or not worker.announced_failed:
            self._say(worker, "failed", reason, short_lives=self._lives.short(slot), given_up=end is not None)

    def _say(
        self, worker: Worker, event: WorkerEvent, reason: str = "", *, short_lives: int = 0, given_up: bool = False
    ) -> None:
        """Announce at once; nobody waits for NATS here."""
        reason = redact_text(reason)
        worker.announced_failed = worker.announced_failed or event == "failed"
        level = log.warning if event == "failed" else log.info
        level(f"worker {event}", worker=worker.instance, function=worker.slot.function, reason=reason, pid=worker.pid)
        self._news.tell(
            Announcement(
                node=self._settings.node,
                instance=worker.instance,
                function=worker.slot.function,
                version=worker.version,
                digest=worker.slot.digest,
                event=event,
                at=clock.utc_now(),
                reason=reason,
                labels=self._settings.labels,
                card=worker.card if event == "ready" else None,
                pid=worker.pid,
                user_key=worker.user_key,
                short_lives=short_lives,
                given_up=given_up,
            )
        )

    def reconnected(self) -> None:
        """Announce every ready worker once more, and try at once what could not start without NATS."""
        self._lives.forgive()
        self._poke.set()
        for worker in self.workers.values():
            if worker.phase == "ready":
                self._say(worker, "ready", worker.note)

    # --- watching --------------------------------------------------------------------------------------------

    async def _judge(self) -> None:
        ticks = 0
        while True:
            due_ns = clock.monotonic_ns() + int(_TICK_S * _S)
            await asyncio.sleep(_TICK_S)
            now_ns = clock.monotonic_ns()
            late_ns = now_ns - due_ns
            ticks += 1
            if late_ns > _LATE_S * _S:
                for worker in self.workers.values():
                    worker.forgive(late_ns)
                continue
            for worker in list(self.workers.values()):
                worker.judge(now_ns)
            if ticks % _SLOW_TICKS == 0:
                self._check_slowly(now_ns)

    def _check_slowly(self, now_ns: int) -> None:
        for worker in list(self.workers.values()):
            if worker.renew_at_ns is not None and now_ns > worker.renew_at_ns:
                worker.renew()
