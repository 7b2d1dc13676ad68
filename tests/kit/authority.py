"""An authority under test: `python -m gateway.authority` as a process, and what a joining host does."""

import asyncio
import os
import sys
from subprocess import DEVNULL

import nats.errors
import nkeys

from contracts import bus, codec, service, subjects
from contracts.access import roles, tokens
from contracts.bus import Bus
from contracts.membership import Invitation, Invite, Join, Members, Membership, Revoke
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.node import ROOT


class AuthorityProcess:
    """One authority over the keys of a server's network, and a gateway's connection to ask it by."""

    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self.log = server.files.folder / "authority.log"
        self._process: asyncio.subprocess.Process | None = None
        self._gateway: Bus | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        files = self.server.files
        env = {
            "PATH": os.environ.get("PATH", ""),
            "MMN_NATS_URL": self.server.url,
            "MMN_AUTHORITY_NATS_CREDS": str(files.credentials(roles.AUTHORITY, "authority")),
            "MMN_AUTHORITY_STATE_DIR": str(files.folder),
            **({"MMN_NATS_CA": str(self.server.ca)} if self.server.ca else {}),
        }
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.authority"), cwd=ROOT, env=env, stdin=DEVNULL, stdout=log, stderr=log
            )
        self._gateway = await self.server.connect(roles.GATEWAY, "asks")

        async def answers() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, self.log.read_text()[-2000:]
            try:
                await self.members()
            except (nats.errors.Error, TimeoutError):
                return False
            return True

        await eventually(answers, within=90)

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(10):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def ask(self, verb: str, body: bytes) -> bytes:
        """One question, as a gateway asks it. Raises Refused."""
        assert self._gateway is not None
        reply = await self._gateway.request(subjects.authority(verb), body, within=10)
        service.raise_refusal(reply.headers)
        return reply.data

    async def invite(self, wish: Invite) -> Invitation:
        return codec.decode(await self.ask("invite", codec.encode(wish, codec.JSON)), Invitation)

    async def join(self, wish: Join) -> Membership:
        return codec.decode(await self.ask("join", codec.encode(wish, codec.JSON)), Membership)

    async def revoke(self, wish: Revoke) -> Members:
        return codec.decode(await self.ask("revoke", codec.encode(wish, codec.JSON)), Members)

    async def members(self) -> Members:
        return codec.decode(await self.ask("list", b""), Members)


class Host:
    """A host that may join: it has keys of its own and nothing else."""

    def __init__(self, kind: str = "node") -> None:
        self.user = tokens.new_user_key()
        self.signing = tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT)
        self.kind = kind

    def answer(self, token: str, *, name: str = "") -> Join:
        """What it sends."""
        signing = tokens.public(self.signing) if self.kind == "node" else None
        return Join(token=token, user_key=tokens.public(self.user), signing_key=signing, name=name)

    async def connect(self, server: NatsServer, told: Membership) -> Bus:
        """Connect with what it was given."""
        inbox = subjects.manage_inbox(told.name) if told.kind == "node" else subjects.worker_inbox(told.instance)
        credentials = bus.KeyCredentials(told.user_token, self.user)
        return await bus.connect(
            server.url, credentials, identity=told.instance or told.name, inbox=inbox, ca=bus.read_ca(server.ca)
        )
