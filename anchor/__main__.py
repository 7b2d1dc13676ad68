"""`python -m anchor`: run one Anchor until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version

import structlog

from anchor.backpressure import Backpressure
from anchor.breakers import Breaker
from anchor.cancellation import Cancel
from anchor.checks import Checks
from anchor.discovery import Discovery
from anchor.dispatcher import Dispatcher
from anchor.evidence import Counting
from anchor.ledger import Ledger
from anchor.pressure import Shedding
from anchor.quotas import Allowance, Quotas, exempting
from anchor.registry import Registry
from anchor.rollouts import Rollouts
from anchor.service import Submit, register
from anchor.settings import Settings, load
from anchor.shares import Shares
from anchor.slots import Slots
from anchor.sweeper import Sweeper
from anchor.twins import Twins
from contracts import bus, clock, heart, logs, process, subjects
from contracts.errors import Unavailable
from contracts.modules import Health

log = structlog.get_logger(__name__)
_DEPLOYMENTS_WITHIN_S = 10.0


async def serve(settings: Settings, shipper: logs.LogShipper) -> None:
    """Connect, learn who is there, take jobs; on a signal finish what is in hand and leave."""
    stop = process.stop_signal()
    connection = await bus.connect(
        settings.nats_url,
        bus.FileCredentials(settings.nats_creds),
        identity=settings.id,
        ca=bus.read_ca(settings.nats_ca),
        inbox=subjects.manage_inbox(settings.id),
        name=f"anchor/{settings.id}",
    )
    registry = Registry(breaker=lambda: Breaker(open_s=settings.breaker_open))
    ledger = Ledger(connection, settings.id)
    counting = Counting()
    rollouts = Rollouts(connection, registry, counting, settings.id)
    dispatcher = Dispatcher(connection, registry, Slots(registry), ledger, counting, ack_wait=settings.ack_wait)
    twins = Twins(connection, registry, dispatcher, ledger, counting)
    checks = Checks(connection, registry)
    discovery = Discovery(connection, registry, checks, rollouts)
    quotas = Quotas(
        client=Allowance(settings.client_rate, settings.client_burst),
        target=Allowance(settings.target_rate, settings.target_burst),
        exempt=exempting(settings.target_exempt),
    )
    shares = Shares(connection, quotas, dispatcher.lanes.held_by_queue)
    sweeper = Sweeper(connection, registry, dispatcher, ledger, shares, every=settings.sweep_every)
    lag = heart.LoopLag()
    shedding = Shedding(wait_s=settings.shed_wait, lag_s=settings.shed_lag)
    backpressure = Backpressure(registry, dispatcher, shedding, lag.recent)
    submit = Submit(connection, registry, dispatcher, ledger, quotas, backpressure, twins)

    def report() -> Health:
        return Health(
            instance=settings.id,
            kind="anchor",
            state="draining" if stop.is_set() else "up",
            at=clock.utc_now(),
            version=version("mmn"),
            in_flight=dispatcher.in_flight,
            queue=dispatcher.lanes.waiting,
            done=dispatcher.done,
            faults=dispatcher.faults,
            breakers=registry.open_breakers(),
            routing=registry.routed(),
            rejected=submit.refused.total(),
            refused=dict(submit.refused),
            rollouts=counting.own(),
            loop_lag_ns=lag.take(),
            rss_bytes=heart.resident_bytes(),
        )

    try:
        async with asyncio.TaskGroup() as tasks:
            known = asyncio.Event()
            running = [
                tasks.create_task(work)
                for work in (
                    connection.failed(),
                    shipper.run(connection),
                    lag.run(),
                    heart.beat(connection, report),
                    discovery.run(known),
                    checks.run(),
                    dispatcher.run(),
                    shares.run(),
                    rollouts.run(),
                    twins.run(),
                )
            ]
            await shares.open()
            await discovery.open()
            await shares.learn()
            try:
                async with asyncio.timeout(_DEPLOYMENTS_WITHIN_S):
                    await known.wait()
            except TimeoutError:
                raise Unavailable("the bucket of functions cannot be read; is the network provisioned?") from None
            running.append(tasks.create_task(sweeper.run()))
            service = await register(
                connection,
                settings.id,
                version("mmn"),
                submit,
                Cancel(connection, ledger),
                limit=settings.submit_limit,
            )
            log.info("anchor is ready", anchor=settings.id, functions=registry.functions())
            await stop.wait()
            log.info("anchor is stopping", jobs=dispatcher.in_flight)
            await service.stop(grace=settings.grace)
            await dispatcher.stop(grace=settings.grace)
            for task in running:
                task.cancel()
    finally:
        await connection.drain()


def main() -> int:
    """Exit status: 0 after an orderly stop, 1 when the Anchor cannot work."""

    async def start() -> None:
        settings = load()
        await serve(settings, logs.configure(settings.id, level=settings.log_level))

    return process.run("anchor", start)


if __name__ == "__main__":
    sys.exit(main())
