"""A gateway without a network: the real parts around a stand-in for NATS."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
from argon2 import PasswordHasher
from msgspec import Struct

from contracts import codec
from contracts.audit import AuditEntry
from contracts.errors import Refused, Unavailable
from contracts.functions import Deployment
from contracts.jobs import CancelReply, CancelRequest, JobReceipt, JobRequest
from contracts.modules import Card
from contracts.nodes import NodeReply
from contracts.tail import CaughtUp, Start, StreamStatus
from gateway.app import create_app
from gateway.authors import Author, Authors
from gateway.held import Bell
from gateway.index import Index
from gateway.network import Network
from gateway.parts import Parts
from gateway.records import Record
from gateway.registry import Module, Registry
from gateway.security.identities import Session, User
from gateway.security.passwords import Passwords
from gateway.security.roles import Role
from gateway.security.tokens import Tokens
from gateway.settings import Settings
from tests.kit.authors import TRUSTED

T = TypeVar("T")
NOW = "2030-01-01T00:00:00.000000Z"
PASSWORD = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def status_of(*, first: int = 1, last: int = 0, created: str = "one") -> StreamStatus:
    text = msgspec.json.encode({"created": created, "state": {"first_seq": first, "last_seq": last}})
    return msgspec.json.decode(text, type=StreamStatus)


def record(sequence: int, subject: str, value: object, *, incarnation: str = "one", media: str = codec.JSON) -> Record:
    return Record(incarnation, sequence, subject, codec.encode(value, media), media)


class ListSource:
    """Streams as lists; what is appended later arrives at those who follow."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = {}
        self.created = "one"
        self.more = asyncio.Event()

    async def status(self, stream: str) -> StreamStatus:
        kept = self.records.get(stream, [])
        first = kept[0].sequence if kept else 1
        return status_of(first=first, last=kept[-1].sequence if kept else 0, created=self.created)

    async def follow(
        self, stream: str, *, start: Start, subject: str | None = None, mark: bool = False
    ) -> AsyncGenerator[Record | CaughtUp]:
        at = start if isinstance(start, int) else 0
        while True:
            for one in list(self.records.get(stream, [])):
                if one.sequence >= at and (subject is None or fits(subject, one.subject)):
                    at = one.sequence + 1
                    yield one
            if mark:
                mark = False
                yield CaughtUp()
            self.more.clear()
            await self.more.wait()

    def add(self, stream: str, one: Record) -> None:
        self.records.setdefault(stream, []).append(one)
        self.more.set()


def fits(pattern: str, subject: str) -> bool:
    """Say whether a subject fits a pattern of one-token wildcards."""
    pairs = zip(pattern.split("."), subject.split("."), strict=False)
    return all(want in {"*", token} for want, token in pairs)


class FakeNetwork:
    """Answers as `Network` does, from dictionaries."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.connected = True
        self.ready = True
        self.known: dict[str, Deployment] = {}
        self.people: dict[str, User] = {}
        self.logins: dict[str, Session] = {}
        self.bell = Bell()
        self.stored: dict[str, bytes] = {}
        self.trusted: Authors | None = Authors(trusted=[Author(key=TRUSTED, name="kit")])
        self.submitted: list[tuple[JobRequest, str]] = []
        self.nodes: set[str] = set()
        self.asked: list[tuple[str, str, Struct]] = []
        self.cancelled: list[tuple[CancelRequest, str]] = []
        self.entries: list[AuditEntry] = []
        self.audit_fails = False
        self.answer: JobReceipt | CancelReply | Exception = Unavailable("no Anchor is running; try again later")

    def deployments(self) -> list[Deployment]:
        return list(self.known.values())

    def deployment(self, name: str) -> Deployment:
        if name not in self.known:
            raise Refused(404, "no-such-function", f"there is no function {name!r}")
        return self.known[name]

    async def change_deployment(
        self, name: str, change: Callable[[Deployment | None], Deployment]
    ) -> tuple[Deployment, bool]:
        before = self.known.get(name)
        self.known[name] = change(before)
        return self.known[name], self.known[name] != before

    async def delete_deployment(self, name: str) -> None:
        self.deployment(name)
        del self.known[name]

    async def control(self, node: str, verb: str, request: Struct) -> NodeReply:
        self.asked.append((node, verb, request))
        if node not in self.nodes:
            raise Refused(404, "no-such-node", f"node: no runtime answers for {node}")
        return NodeReply(node=node, state="up", workers={})

    async def store_bundle(self, digest: str, data: bytes) -> None:
        self.stored[digest] = data

    async def bundle(self, digest: str) -> bytes:
        if digest not in self.stored:
            raise Refused(404, "no-such-bundle", "not kept")
        return self.stored[digest]

    async def authors(self) -> Authors:
        return self.trusted or Authors()

    async def change_authors(self, change: Callable[[Authors | None], Authors]) -> tuple[Authors, bool]:
        before, self.trusted = self.trusted, change(self.trusted)
        return self.trusted, self.trusted != before

    def users(self) -> list[User]:
        return list(self.people.values())

    def user(self, name: str) -> User | None:
        return self.people.get(name)

    async def change_user(self, name: str, change: Callable[[User | None], User | None]) -> tuple[User | None, bool]:
        after = change(self.people.get(name))
        if after is None:
            self.people.pop(name, None)
        else:
            self.people[name] = after
        self.bell.ring()
        return after, True

    def session(self, key: str) -> Session | None:
        return self.logins.get(key)

    def sessions(self, user: str) -> dict[str, Session]:
        return {key: one for key, one in self.logins.items() if one.user == user and not one.ended}

    async def change_session(self, key: str, change: Callable[[Session | None], Session]) -> Session:
        self.logins[key] = change(self.logins.get(key))
        self.bell.ring()
        return self.logins[key]

    async def submit(self, request: JobRequest, *, client: str) -> JobReceipt:
        self.submitted.append((request, client))
        return self._answer(JobReceipt)

    async def cancel(self, request: CancelRequest, *, client: str) -> CancelReply:
        self.cancelled.append((request, client))
        return self._answer(CancelReply)

    async def store_entry(self, entry: AuditEntry) -> None:
        if self.audit_fails:
            raise Unavailable("the stream takes nothing")
        self.entries.append(entry)

    def _answer(self, kind: type[T]) -> T:
        if isinstance(self.answer, Exception):
            raise self.answer
        assert isinstance(self.answer, kind)
        return self.answer

    def modules(self, *, function: str | None = None) -> list[Module]:
        return self.registry.modules(0, function=function)

    def card(self, function: str, version: str) -> Card | None:
        return self.registry.card(function, version)


class Plane:
    """The parts, the fake behind them, and a user of every role."""

    def __init__(self) -> None:
        self.network = FakeNetwork()
        hashed = QUICK.hash(PASSWORD)
        for role in Role:
            self.network.people[role.value] = User(name=role.value, role=role, password=hashed, created=NOW)
        settings = Settings(nats_creds=Path("none.creds"), state_dir=Path("none"))
        network: Network = self.network  # type: ignore[assignment]  # a stand-in for all that the routes use
        self.parts = Parts(
            settings,
            network,
            Index(None),
            tokens=Tokens(b"k" * 32, lifetime_s=60),
            passwords=Passwords(QUICK),
            environment={"msgspec": "0.22.0"},
            version="0.1.0",
        )

    def client(self, role: Role | None = None, *, address: tuple[str, int] = ("127.0.0.1", 123)) -> httpx.AsyncClient:
        """A client of the whole application, with the token of a role or with none."""
        app: Any = create_app(self.parts)
        transport = httpx.ASGITransport(app, client=address)
        return httpx.AsyncClient(
            transport=transport, base_url="http://gateway", headers=self.headers(role) if role else None
        )

    def headers(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(role)}"}

    def token(self, role: Role) -> str:
        return self.parts.tokens.issue(role.value, role, epoch="", sid="")
