"""`python -m gateway.authority`: run the authority until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version

import structlog

from contracts import bus, clock, heart, logs, process, subjects
from contracts.access.provision import NetworkFiles
from contracts.errors import Unavailable
from contracts.modules import Health
from gateway.authority.accounts import Accounts
from gateway.authority.service import Authority
from gateway.authority.settings import Settings, load

log = structlog.get_logger(__name__)


async def serve(settings: Settings, shipper: logs.LogShipper) -> None:
    """Answer until a signal. Raises MmnError."""
    stop = process.stop_signal()
    files = NetworkFiles(settings.state_dir)
    accounts = Accounts(files, settings.nats_url, settings.nats_ca)
    authority = Authority(settings, files, accounts)
    connection = await bus.connect(
        settings.nats_url,
        bus.FileCredentials(settings.nats_creds),
        identity=settings.id,
        inbox=subjects.manage_inbox(settings.id),
        name=f"authority/{settings.id}",
        ca=bus.read_ca(settings.nats_ca),
    )
    lag = heart.LoopLag()

    def report() -> Health:
        return Health(
            instance=settings.id,
            kind="authority",
            state="draining" if stop.is_set() else "up",
            at=clock.utc_now(),
            version=version("mmn"),
            loop_lag_ns=lag.take(),
            rss_bytes=heart.resident_bytes(),
        )

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(work)
                for work in (
                    connection.failed(),
                    shipper.run(connection),
                    lag.run(),
                    heart.beat(connection, report),
                    accounts.run(),
                )
            ]
            try:
                # The server may have older ones, from before somebody was revoked while it was away.
                await accounts.push(authority.book)
            except Unavailable as error:
                log.warning("accounts not pushed", reason=str(error))
            service = await authority.register(connection, version("mmn"))
            log.info("authority is ready", members=len(authority.book.places))
            await stop.wait()
            await service.stop(grace=5.0)
            for task in running:
                task.cancel()
    finally:
        await connection.drain()


def main() -> int:
    """Exit status: 0 after an orderly stop, 1 when the authority cannot work."""

    async def start() -> None:
        settings = load()
        await serve(settings, logs.configure(settings.id, level=settings.log_level))

    return process.run("authority", start)


if __name__ == "__main__":
    sys.exit(main())
