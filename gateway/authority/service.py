"""What the authority answers: invite, join, revoke, list. Only the gateway may ask.

One request at a time changes the book; it is on disk before the server hears of it, and the server has
taken it before the answer goes out.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from contracts import clock, subjects
from contracts.access import book as books
from contracts.access import roles, tokens
from contracts.access.provision import NetworkFiles, mint_worker, write_secret
from contracts.bus import Bus, read_ca
from contracts.errors import Refused
from contracts.membership import Invitation, Invite, Join, Members, Membership, Revoke
from contracts.modules import new_instance
from contracts.service import Answer, Ask, Service, answer
from gateway.authority.accounts import Accounts
from gateway.authority.settings import Settings

log = structlog.get_logger(__name__)

FAILURES = 20
"""So many wrong tokens are answered at once; after that one more each `_FORGIVEN_S`."""
_FORGIVEN_S = 3.0


class Authority:
    """The book, and the keys that it is enforced with."""

    def __init__(self, settings: Settings, files: NetworkFiles, accounts: Accounts) -> None:
        self._settings = settings
        self._files = files
        self._accounts = accounts
        self._ca = read_ca(settings.nats_ca)
        files.book_file.parent.mkdir(mode=0o700, exist_ok=True)
        self.book = books.load(files.book_file)
        self._changing = asyncio.Lock()
        self._failures = 0.0
        self._failed_ns = clock.monotonic_ns()

    async def register(self, connection: Bus, version: str) -> Service:
        """Serve on `mmn.authority.*`."""
        service = Service(
            connection,
            name="authority",
            instance=self._settings.id,
            version=version,
            description="says who belongs to the network",
        )
        await service.start()
        for verb, handler in (
            ("invite", self.invite),
            ("join", self.join),
            ("revoke", self.revoke),
            ("list", self.members),
        ):
            await service.add(verb, subjects.authority(verb), handler, limit=8, queue=32)
        await connection.settle()
        return service

    async def invite(self, ask: Ask) -> Answer:
        wish = ask.decode(Invite)
        async with self._changing:
            provisioned = wish.name in self._files.nodes() and wish.name not in self.book.gone
            token = self.book.invite(wish, taken=provisioned)
            self._save()
        log.info("invited", member=wish.name, kind=wish.kind, valid_s=wish.valid_s)
        expires = clock.rfc3339(clock.wall_ns() + wish.valid_s * 1_000_000_000)
        return answer(Invitation(token=token, kind=wish.kind, name=wish.name, expires=expires), ask.media())

    async def join(self, ask: Ask) -> Answer:
        wish = ask.decode(Join)
        self._brake()
        async with self._changing:
            try:
                found = self.book.redeem(wish)
            except Refused as refusal:
                if refusal.reason == "token-unknown":
                    self._failures += 1
                log.warning("refused to join", reason=refusal.reason)
                raise
            place = self._place(found, wish)
            self.book.places[place.name] = place
            self._save()
            await self._accounts.push(self.book)
        log.info("joined", member=place.name, kind=place.kind)
        return answer(self._membership(place), ask.media())

    def _brake(self) -> None:
        now = clock.monotonic_ns()
        self._failures = max(0.0, self._failures - (now - self._failed_ns) / (_FORGIVEN_S * 1e9))
        self._failed_ns = now
        if self._failures >= FAILURES:
            raise Refused(429, "busy", "too many wrong tokens lately; try again", retry_after=_FORGIVEN_S)

    def _place(self, found: books.Pending, wish: Join) -> books.Place:
        signing = wish.signing_key
        return books.Place(
            kind=found.kind,
            name=found.name,
            labels=found.labels,
            function=found.function,
            user_key=wish.user_key,
            signing_key=signing if signing is not None else tokens.public(self._files.module_key(found.name)),
            instance=new_instance(found.name) if found.kind == "module" else "",
            joined=clock.utc_now(),
        )

    def _membership(self, place: books.Place) -> Membership:
        if place.kind == "node":
            account = self._files.account_key("MANAGE")
            signer = self._files.signers[roles.RUNTIME.name]
            token = tokens.user(place.user_key, signer, account_key=account, name=place.name)
        else:
            token = mint_worker(
                self._files.module_key(place.name),
                account_key=self._files.account_key("MEASURE"),
                function=place.function,
                suffix=place.instance.partition("_")[2],
                user_key=place.user_key,
                lifetime_s=None,
            )
        return Membership(
            kind=place.kind,
            name=place.name,
            user_token=token,
            measure_account=self._files.account_key("MEASURE"),
            nats_url=self._settings.public_nats_url or self._settings.nats_url,
            nats_ca=self._ca,
            labels=place.labels,
            function=place.function,
            instance=place.instance,
        )

    async def revoke(self, ask: Ask) -> Answer:
        wish = ask.decode(Revoke)
        async with self._changing:
            if wish.kind == "user":
                self._revoke_user(wish.name)
            else:
                self._revoke_member(wish)
            self._save()
            await self._accounts.push(self.book)
        log.info("revoked", member=wish.name, kind=wish.kind)
        return answer(self._members(), ask.media())

    def _revoke_user(self, name: str) -> None:
        key = self._files.user_key(name) or name
        if not key.startswith("U"):
            raise Refused(404, "no-such-user", f"there are no credentials {name} here, and it is no public key")
        try:
            tokens.raw_public(key)
        except ValueError as error:
            raise Refused(400, "invalid-field", f"name: {error}") from error
        if key == self._files.user_key(self._settings.id):
            raise Refused(409, "own-user", "the authority does not revoke itself")
        self.book.revoke_user(key)

    def _revoke_member(self, wish: Revoke) -> None:
        place = self.book.places.get(wish.name)
        if place is not None and place.kind == wish.kind and not place.revoked:
            place.revoked = True
            self.book.revoke_user(place.user_key)
        elif wish.kind == "node" and wish.name in self._files.nodes() and wish.name not in self.book.gone:
            self.book.gone.append(wish.name)
            key = self._files.user_key(f"runtime-{wish.name}")
            if key is not None:
                self.book.revoke_user(key)
        else:
            raise Refused(404, "no-such-member", f"there is no {wish.kind} {wish.name} that could be revoked")

    async def members(self, ask: Ask) -> Answer:
        return answer(self._members(), ask.media())

    def _members(self) -> Members:
        return Members(
            members=self.book.members(self._files.nodes()),
            invited=self.book.invited(),
            revoked_users=len(self.book.revoked),
        )

    def _save(self) -> None:
        write_secret(self._files.book_file, msgspec.json.format(msgspec.json.encode(self.book)).decode())
