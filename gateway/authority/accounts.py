"""How the server hears of a change: newer tokens of the accounts, pushed to its resolver, with no restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import nats.errors
import structlog

from contracts import bus
from contracts.access import tokens
from contracts.access.book import Book
from contracts.access.provision import NetworkFiles
from contracts.errors import MmnError, Unavailable

log = structlog.get_logger(__name__)

WITHIN_S = 5.0
_AGAIN_S = 1.0


class Accounts:
    """Pushes accounts as the book has them. A push that failed is repeated until the server has taken it."""

    def __init__(self, files: NetworkFiles, url: str, ca: Path | None) -> None:
        self._files = files
        self._url = url
        self._ca = ca
        self._book: Book | None = None
        self._waiting = asyncio.Event()
        self._one = asyncio.Lock()

    async def push(self, book: Book) -> None:
        """Have the server take the accounts of MEASURE and MANAGE. Raises Unavailable; it is then tried again."""
        self._book = book
        try:
            async with self._one:
                await self._push(book)
        except (MmnError, nats.errors.Error, TimeoutError) as error:
            self._waiting.set()
            reason = str(error) or type(error).__name__
            raise Unavailable(f"noted, but the NATS server has not heard of it yet: {reason}") from error

    async def run(self) -> None:
        """Repeat what failed, until cancelled."""
        while True:
            await self._waiting.wait()
            await asyncio.sleep(_AGAIN_S)
            self._waiting.clear()
            try:
                assert self._book is not None
                await self.push(self._book)
            except Unavailable as error:
                log.warning("accounts not pushed", reason=str(error))

    async def _push(self, book: Book) -> None:
        made = self._files.account_tokens(book)
        key = tokens.new_user_key()
        # A connection for one push: nobody holds the system account's rights in between.
        credentials = bus.KeyCredentials(tokens.system_user(tokens.public(key), self._files.accounts["SYS"]), key)
        connection = await bus.connect(
            self._url,
            credentials,
            identity="authority of the accounts",
            inbox=tokens.SYSTEM_INBOX,
            ca=bus.read_ca(self._ca),
        )
        try:
            for name in ("MEASURE", "MANAGE"):
                answer = await connection.request(tokens.CLAIMS_UPDATE, made[name].encode(), within=WITHIN_S)
                told = msgspec.json.decode(answer.data)
                if "error" in told:
                    raise Unavailable(f"the server refused account {name}: {told['error']}")
        finally:
            await connection.drain()
