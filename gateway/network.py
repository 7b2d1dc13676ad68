"""The only module of the gateway that talks NATS: jobs, deployments, bundles, users, streams.

Three buckets and two streams are followed all the time and kept in memory, so that a page view
asks nobody. Writes are compare-and-set on what the bucket holds at that moment.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import nats.errors
import structlog
from msgspec import Struct
from nats.js.errors import APIError, NotFoundError, ObjectDeletedError, ObjectNotFoundError

from contracts import clock, codec, functions, service, streams, subjects
from contracts.audit import AuditEntry
from contracts.bus import Bus
from contracts.errors import MmnError, Refused, Unavailable
from contracts.functions import Deployment
from contracts.jobs import HEADER_CLIENT, CancelReply, CancelRequest, JobReceipt, JobRequest
from contracts.modules import Announcement, Card, Health
from contracts.nodes import NodeReply
from contracts.storage import store
from contracts.tail import CaughtUp, Start, StreamStatus, Tail, Watch, stream_status
from gateway.authors import KEY as AUTHORS
from gateway.authors import Authors
from gateway.held import MAX_VALUE_BYTES, Bell, Held
from gateway.records import Record, record_of
from gateway.registry import Module, Registry
from gateway.security.identities import Session, User

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Struct)
ANCHOR_WITHIN_S = 10.0
NODE_WITHIN_S = 5.0
AUTHORITY_WITHIN_S = 15.0
OBJECT_WITHIN_S = 60.0
PRUNE_EVERY_S = 60.0
_TRIES = 8
_RETRY_S = 0.02
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_OF_ALL = "Nats-Expected-Last-Sequence"


@contextmanager
def _asking(what: str) -> Generator[None]:
    """Turn the many ways in which NATS does not answer into Unavailable."""
    try:
        yield
    except nats.errors.NoRespondersError as error:
        raise Unavailable(f"{what}: nobody answers") from error
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"{what}: {str(error) or type(error).__name__}") from error


class Network:
    """One gateway's view of the network, and what it may ask of it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.registry = Registry()
        self.bell = Bell()
        """Rings when a user or a login has changed."""
        self._deployments = Held(streams.BUCKET_FUNCTIONS, Deployment)
        self._users = Held(streams.BUCKET_USERS, User, changed=self.bell.ring)
        self._sessions = Held(streams.BUCKET_SESSIONS, Session, changed=self.bell.ring)
        # Not followed: read anew at each upload, so that whom it trusts is true at once.
        self._authors = Held(streams.BUCKET_SETTINGS, Authors)

    @property
    def connected(self) -> bool:
        return self._bus.nc.is_connected

    @property
    def ready(self) -> bool:
        """Whether deployments, users and logins are known, so that answers are not half empty."""
        return all(held.complete.is_set() for held in (self._deployments, self._users, self._sessions))

    async def run(self) -> None:
        """Follow what is kept in memory, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hold(self._deployments))
            group.create_task(self._hold(self._users))
            group.create_task(self._hold(self._sessions))
            group.create_task(self._announcements())
            group.create_task(self._heartbeats())
            group.create_task(self._prune())

    async def until_ready(self, *, within: float) -> bool:
        """Wait until deployments, users and logins are known; False when that takes too long."""
        try:
            async with asyncio.timeout(within):
                for held in (self._deployments, self._users, self._sessions):
                    await held.complete.wait()
        except TimeoutError:
            return False
        return True

    # --- jobs ---------------------------------------------------------------------------------------------

    async def submit(self, request: JobRequest, *, client: str) -> JobReceipt:
        """Hand a job to an Anchor. Raises Refused as the Anchor does, Unavailable when there is none."""
        # Else a number that only JSON can hold could not be sent on.
        codec.check_plain(request.params, at="params")
        unsure = "the Anchor did not answer in time; the job may have been accepted"
        return await self._ask_anchor(subjects.SUBMIT, request, JobReceipt, client=client, unsure=unsure)

    async def cancel(self, request: CancelRequest, *, client: str) -> CancelReply:
        """Have a job cancelled. Raises Refused as the Anchor does, Unavailable when there is none."""
        unsure = "the Anchor did not answer in time; ask again, which does no harm"
        return await self._ask_anchor(subjects.CANCEL, request, CancelReply, client=client, unsure=unsure)

    async def _ask_anchor(self, subject: str, request: Struct, kind: type[T], *, client: str, unsure: str) -> T:
        nobody = Unavailable("no Anchor is running; try again later")
        return await self._ask(
            subject,
            request,
            kind,
            within=ANCHOR_WITHIN_S,
            nobody=nobody,
            unsure=unsure,
            headers={HEADER_CLIENT: client},
        )

    # --- members ------------------------------------------------------------------------------------------

    async def ask_authority(self, verb: str, request: Struct | None, kind: type[T]) -> T:
        """Pass a request on to the authority. Raises Refused as it does, Unavailable when there is none."""
        nobody = Unavailable("no authority is running, so nobody can join or be revoked now")
        unsure = "the authority did not answer in time; look what became of it before you repeat"
        return await self._ask(
            subjects.authority(verb), request, kind, within=AUTHORITY_WITHIN_S, nobody=nobody, unsure=unsure
        )

    # --- functions ----------------------------------------------------------------------------------------

    def deployments(self) -> list[Deployment]:
        """Every deployment, by name."""
        return self._deployments.values_by_key()

    def deployment(self, name: str) -> Deployment:
        """One deployment. Raises Refused (404)."""
        found = self._deployments.get(name)
        if found is None:
            raise Refused(404, "no-such-function", f"there is no function {name[:63]!r}")
        return found

    async def change_deployment(
        self, name: str, change: Callable[[Deployment | None], Deployment]
    ) -> tuple[Deployment, bool]:
        """Replace a deployment by what `change` makes of it, as often as others come between.

        `change` may raise Refused. Returns the deployment and whether anything was written.
        """
        found, written = await self._change(self._deployments, name, change)
        assert found is not None
        return found, written

    async def delete_deployment(self, name: str) -> None:
        """Remove the wish for a function: its workers end, and its queued jobs get a result that says so."""
        self.deployment(name)
        with _asking("the function cannot be deleted"):
            ack = await self._bus.js.publish(f"$KV.{self._deployments.bucket}.{name}", headers={"KV-Operation": "DEL"})
        self._deployments.keep(name, None, ack.seq)

    # --- nodes --------------------------------------------------------------------------------------------

    async def control(self, node: str, verb: Literal["drain", "restart"], request: Struct) -> NodeReply:
        """Ask a node's runtime. Raises Refused (404), as the runtime does or when there is no such node, or Unavailable."""
        return await self._ask(
            subjects.node_control(functions.check_node(node), verb),
            request,
            NodeReply,
            within=NODE_WITHIN_S,
            nobody=Refused(404, "no-such-node", f"node: no runtime answers for {node}"),
            unsure=f"node {node} does not answer in time",
        )

    # --- bundles ------------------------------------------------------------------------------------------

    async def store_bundle(self, digest: str, data: bytes) -> None:
        """Put a wheel into the object store under its digest, unless it is there whole."""
        with _asking("the bundle store cannot be written"):
            async with asyncio.timeout(OBJECT_WITHIN_S):
                store = await self._bus.js.object_store(streams.OBJECTS_BUNDLES)
                try:
                    found = await store.get_info(digest)
                except ObjectNotFoundError:
                    found = None
                if found is None or found.size != len(data):
                    await store.put(digest, data)

    async def bundle(self, digest: str) -> bytes:
        """The wheel with this digest. Raises Refused (404) when it is not there, Unavailable."""
        with _asking("the bundle store cannot be read"):
            async with asyncio.timeout(OBJECT_WITHIN_S):
                store = await self._bus.js.object_store(streams.OBJECTS_BUNDLES)
                try:
                    data = (await store.get(digest)).data or b""
                except (ObjectNotFoundError, ObjectDeletedError):
                    raise Refused(404, "no-such-bundle", f"the bundle {digest[:12]} is not kept any more") from None
        # What the store says of its content is not what was asked for.
        if hashlib.sha256(data).hexdigest() != digest:
            raise Refused(409, "bundle-changed", f"the bundle {digest[:12]} has another content than its name says")
        return data

    async def authors(self) -> Authors:
        """The authors whose bundles the network takes. Raises Unavailable."""
        found, _ = await self._current(self._authors, AUTHORS)
        return found or Authors()

    async def change_authors(self, change: Callable[[Authors | None], Authors]) -> tuple[Authors, bool]:
        """Replace them by what `change` makes of them; None: there has never been a list."""
        found, written = await self._change(self._authors, AUTHORS, change)
        assert found is not None
        return found, written

    # --- users --------------------------------------------------------------------------------------------

    def users(self) -> list[User]:
        """Every user, by name."""
        return self._users.values_by_key()

    def user(self, name: str) -> User | None:
        """One user, or None. Raises Unavailable while users are not known yet."""
        if not self._users.complete.is_set():
            raise Unavailable("the gateway is starting; try again in a moment")
        return self._users.get(name)

    async def change_user(self, name: str, change: Callable[[User | None], User | None]) -> tuple[User | None, bool]:
        """Replace a user by what `change` makes of it; None deletes it. `change` may raise Refused.

        It may look at all users: what it decides counts only if nobody changed any of them meanwhile.
        """
        return await self._change(self._users, name, change, alone=True)

    def session(self, key: str) -> Session | None:
        """One login as this gateway last heard of it; None when it has not heard of it, or it is long over."""
        return self._sessions.get(key)

    def sessions(self, user: str) -> dict[str, Session]:
        """The logins of a user that have not ended, oldest first."""
        found = [(key, one) for key, one in self._sessions.items() if one.user == user and not one.ended]
        return dict(sorted(found, key=lambda pair: pair[1].created))

    async def change_session(self, key: str, change: Callable[[Session | None], Session]) -> Session:
        """Replace a login by what `change` makes of it. `change` may raise Refused."""
        found, _ = await self._change(self._sessions, key, change)
        assert found is not None
        return found

    async def store_entry(self, entry: AuditEntry) -> None:
        """Keep who did what. Raises Unavailable."""
        await store(self._bus, subjects.audit(entry.gateway, entry.kind), codec.encode(entry, codec.JSON), within=2.0)

    # --- streams ------------------------------------------------------------------------------------------

    async def status(self, stream: str) -> StreamStatus:
        """A stream's incarnation and bounds. Raises Unavailable."""
        return await stream_status(self._bus, stream)

    async def follow(
        self, stream: str, *, start: Start, subject: str | None = None, mark: bool = False
    ) -> AsyncGenerator[Record | CaughtUp]:
        """Records of a stream from `start` on, for ever; one CaughtUp among them with `mark`."""
        tail = Tail(self._bus, stream, subject=subject, start=start, mark=mark)
        async for item in tail:
            yield item if isinstance(item, CaughtUp) else record_of(item, tail.incarnation)

    # --- inside -------------------------------------------------------------------------------------------

    async def _ask(
        self,
        subject: str,
        request: Struct | None,
        kind: type[T],
        *,
        within: float,
        nobody: MmnError,
        unsure: str,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """One question to a service: raises `nobody` when none listens, Unavailable(`unsure`) without an answer."""
        data = codec.encode(request) if request is not None else b""
        told = {codec.HEADER: codec.MSGPACK, **(headers or {})}
        try:
            reply = await self._bus.request(subject, data, within=within, headers=told)
        except nats.errors.NoRespondersError as error:
            raise nobody from error
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(unsure) from error
        service.raise_refusal(reply.headers)
        return codec.decode(reply.data, kind, codec.content_type(reply.headers), at="reply")

    async def _hold(self, held: Held[Any]) -> None:
        watch = Watch(self._bus, held.bucket)
        async for item in watch:
            if isinstance(item, CaughtUp):
                held.complete.set()
            else:
                held.take(item, watch.incarnation)

    async def _current(self, held: Held[T], key: str) -> tuple[T | None, int]:
        subject = f"$KV.{held.bucket}.{key}"
        with _asking(f"bucket {held.bucket} cannot be read"):
            try:
                found = await self._bus.js.get_last_msg(f"KV_{held.bucket}", subject, direct=True)
            except NotFoundError:
                return None, 0
        revision = found.seq or 0
        if (found.headers or {}).get("KV-Operation") in {"DEL", "PURGE"} or not found.data:
            return None, revision
        return codec.decode(found.data, held.kind, limit=MAX_VALUE_BYTES, at=key), revision

    async def _change(
        self, held: Held[T], key: str, change: Callable[[T | None], T | None], *, alone: bool = False
    ) -> tuple[T | None, bool]:
        """Compare and set one key, or with `alone` the whole bucket: then nothing else in it may have changed."""
        subjects.token(key)
        for attempt in range(_TRIES):
            # Read before the value: what is written between the two is then seen as a change.
            whole = held.watched
            before, revision = await self._current(held, key)
            after = change(before)
            if after == before:
                return after, False
            headers = {_EXPECTED: str(revision)} | ({_EXPECTED_OF_ALL: str(whole)} if alone else {})
            if after is None:
                headers["KV-Operation"] = "DEL"
            try:
                with _asking(f"bucket {held.bucket} cannot be written"):
                    data = b"" if after is None else codec.encode(after, codec.JSON)
                    ack = await self._bus.js.publish(f"$KV.{held.bucket}.{key}", data, headers=headers)
            except Unavailable as error:
                cause = error.__cause__
                if isinstance(cause, APIError) and cause.err_code == streams.ERROR_WRONG_LAST_SEQUENCE:
                    # The watch may have to catch up first.
                    await asyncio.sleep(_RETRY_S * attempt)
                    continue
                raise
            # The watch brings it too, but the caller may read before that.
            held.keep(key, after, ack.seq)
            return after, True
        raise Refused(409, "conflict", f"{key} is being changed by others; try again")

    async def _announcements(self) -> None:
        async for record, at_ns in self._timed(streams.MODULES, "all"):
            node = record.subject.split(".")[2]
            try:
                announcement = codec.decode(record.data, Announcement, record.media)
            except MmnError as error:
                log.warning("unreadable announcement", node=node, reason=str(error))
                continue
            self.registry.announced(node, announcement, at_ns)

    async def _heartbeats(self) -> None:
        async for record, at_ns in self._timed(streams.HEALTH, "last-per-subject"):
            instance = record.subject.rpartition(".")[2]
            try:
                health = codec.decode(record.data, Health, record.media)
            except MmnError as error:
                log.debug("unreadable heartbeat", instance=instance, reason=str(error))
                continue
            self.registry.beat(instance, health, at_ns)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY_S)
            self.registry.prune(clock.monotonic_ns())
            now = clock.wall_ns() // 1_000_000_000
            for key in [key for key, one in self._sessions.items() if one.expires < now]:
                self._sessions.drop(key)

    async def _timed(self, stream: str, start: Start) -> AsyncGenerator[tuple[Record, int]]:
        """Records with their time on the monotonic clock, by which the age of kept ones is judged."""
        live = False
        async for item in Tail(self._bus, stream, start=start, mark=True):
            if isinstance(item, CaughtUp):
                live = True
                continue
            # What arrives live is as old as nothing, whatever the server's clock says.
            age = 0 if live else max(0, clock.wall_ns() - item.at_ns)
            yield record_of(item, ""), clock.monotonic_ns() - age

    def modules(self, *, function: str | None = None) -> list[Module]:
        """Everyone who is up or has not been down for long."""
        return self.registry.modules(clock.monotonic_ns(), function=function)

    def card(self, function: str, version: str) -> Card | None:
        """What a ready worker of this version said of itself."""
        return self.registry.card(function, version)
