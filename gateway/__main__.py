"""Run one gateway: connect, make the first user if there is none, serve until told to stop.

Stopping drains: sockets of the feed are closed with 1001, waiting requests are answered with what
there is, running ones are finished, then the connection to NATS is drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
import uvloop

from contracts import bus, clock, heart, logs, subjects
from contracts.bundles import base_environment
from contracts.errors import MmnError
from contracts.modules import Health
from contracts.service import Service
from contracts.signatures import read_authors
from gateway.app import create_app
from gateway.authors import Author, Authors
from gateway.index import Index
from gateway.network import Network
from gateway.parts import Parts
from gateway.security.audit import Note
from gateway.security.identities import User, new_epoch
from gateway.security.passwords import Passwords
from gateway.security.roles import Role
from gateway.security.tokens import Tokens, token_key
from gateway.server import Server, in_private, listen, url_of
from gateway.settings import Settings, load

log = structlog.get_logger("gateway")

READY_WITHIN_S = 10.0
STOP_WITHIN_S = 10.0
_FEED_WITHIN_S = 1.0


def write_port_file(path: Path, url: str) -> None:
    """Write the URL, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(url + "\n")
    partial.replace(path)


async def first_user(settings: Settings, network: Network, passwords: Passwords) -> bool:
    """Make the first admin when the network has none, and say whether; who was deleted does not come back."""
    file, name = settings.admin_password_file, settings.admin_user
    if file is None or any(user.role is Role.ADMIN for user in network.users()):
        return False
    try:
        password = (await asyncio.to_thread(file.read_text)).strip()
    except OSError as error:
        raise MmnError(f"cannot read the first password from {file}: {error.strerror}") from error
    hashed = await passwords.hash(name, password)
    made = User(name=name, role=Role.ADMIN, password=hashed, created=clock.utc_now(), epoch=new_epoch())
    _, written = await network.change_user(name, lambda before: before or made)
    if written:
        log.info("first user made", user=name, role=made.role)
    return written


async def first_authors(settings: Settings, network: Network) -> None:
    """Trust the first authors when the network has no list of them yet, not even an empty one."""
    file = settings.trusted_authors_file
    if file is None:
        return
    try:
        named = read_authors(await asyncio.to_thread(file.read_text), at=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise MmnError(f"cannot read the first trusted authors from {file}: {error}") from error
    since = clock.utc_now()
    listed = [Author(key=key, name=name, by=settings.id, since=since) for key, name in named.items()]
    _, written = await network.change_authors(lambda before: before or Authors(trusted=listed))
    if written:
        log.info("first authors trusted", authors=list(named))


async def _stop(parts: Parts, server: Server, told: asyncio.Event) -> None:
    await told.wait()
    log.info("stopping")
    parts.stopping = True
    parts.index.release()
    parts.hub.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FEED_WITHIN_S):
            await parts.hub.empty.wait()
    server.should_exit = True


async def _serve(parts: Parts, server: Server, opened: socket.socket) -> None:
    async def announce() -> None:
        await server.listening.wait()
        url = url_of(opened, tls=parts.settings.tls_cert is not None)
        if parts.settings.port_file is not None:
            await asyncio.to_thread(write_port_file, parts.settings.port_file, url)
        log.info("listening", url=url)
        if not parts.settings.https and not in_private(opened):
            log.warning("passwords and tokens can be read on the way; set MMN_GATEWAY_TLS_CERT and MMN_GATEWAY_TLS_KEY")

    async with asyncio.TaskGroup() as group:
        telling = group.create_task(announce())
        await server.serve(sockets=[opened])
        telling.cancel()


async def run(settings: Settings, shipper: logs.LogShipper) -> None:
    """Run until SIGTERM or SIGINT. Raises CannotConnect and other MmnErrors."""
    release = version("mmn")
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # once, before serving
    tokens = Tokens(
        token_key(settings.token_key_file or settings.state_dir / "token.key"), lifetime_s=settings.token_ttl_s
    )
    opened = listen(settings.host, settings.port)
    connection = await bus.connect(
        settings.nats_url,
        bus.FileCredentials(settings.nats_creds),
        identity=settings.id,
        ca=bus.read_ca(settings.nats_ca),
        inbox=subjects.manage_inbox(settings.id),
    )
    network, index = Network(connection), Index(settings.state_dir / "index.sqlite")
    passwords = Passwords()
    parts = Parts(
        settings,
        network,
        index,
        tokens=tokens,
        passwords=passwords,
        environment=base_environment(),
        version=release,
    )
    service = Service(
        connection,
        name="gateway",
        instance=settings.id,
        version=release,
        description="HTTP API and live feed of the measurement network",
    )
    lag = heart.LoopLag()

    def health() -> Health:
        return Health(
            instance=settings.id,
            kind="gateway",
            state="draining" if parts.stopping else "up",
            at=clock.utc_now(),
            version=release,
            in_flight=parts.hub.clients,
            loop_lag_ns=lag.take(),
            rss_bytes=heart.resident_bytes(),
        )

    app: Any = create_app(parts)
    server = Server(app, settings, stop_within_s=STOP_WITHIN_S)
    try:
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(work)
                for work in (
                    network.run(),
                    index.run(network),
                    parts.hub.run(),
                    lag.run(),
                    heart.beat(connection, health),
                    shipper.run(connection),
                )
            ]
            await service.start()
            await connection.settle()
            if await network.until_ready(within=READY_WITHIN_S):
                if await first_user(settings, network, passwords):
                    made = Note(object=settings.admin_user)
                    await parts.audit.record("change", "first_user", status=201, told=made)
                await first_authors(settings, network)
            else:
                log.warning("the network's buckets cannot be read yet; serving all the same")
            stopping = group.create_task(_stop(parts, server, told))
            await _serve(parts, server, opened)
            for task in (stopping, *background):
                task.cancel()
        await service.stop()
    finally:
        await index.close()
        await connection.drain()


def main() -> None:
    """Start from the environment. Ends with 1 and one line when it cannot."""
    try:
        settings = load()
        shipper = logs.configure(settings.id, level=settings.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, shipper))
    except MmnError as error:
        sys.exit(f"gateway: {error}")
    except ExceptionGroup as group:
        known = group.subgroup(MmnError)
        if known is None:
            raise
        reason: BaseException = known
        while isinstance(reason, ExceptionGroup):
            reason = reason.exceptions[0]
        sys.exit(f"gateway: {reason}")


if __name__ == "__main__":
    main()
