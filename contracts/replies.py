"""One inbox for the answers to many questions, each answer handed over as it is read from the socket.

The library's own `request` makes a task, a queue entry and a timer task a question, which is most of what a
question costs. Here an answer resolves a future, and its time limit is a plain timer.
"""

from __future__ import annotations

import asyncio
import os

import nats.errors
from nats.aio.msg import Msg

_DIGITS = 16
_AT_ONCE = 256


class Expected:
    """An answer that is waited for: `subject` is where it has to be sent."""

    __slots__ = ("_replies", "_token", "future", "subject")

    def __init__(self, replies: Replies, token: str) -> None:
        self._replies = replies
        self._token = token
        self.subject = f"{replies.inbox}.{token}"
        self.future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Nobody will answer any more."""
        if not self.future.done():
            self.future.set_exception(error)

    async def within(self, seconds: float) -> Msg:
        """Wait for the answer. Raises nats.errors.TimeoutError."""
        timer = asyncio.get_running_loop().call_later(seconds, self.fail, nats.errors.TimeoutError())
        try:
            return await self.future
        finally:
            timer.cancel()

    def again(self) -> None:
        """Wait anew for the same answer, after `fail` said why it was worth a look."""
        self.future = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """An answer that comes later is nobody's."""
        self._replies.forget(self._token)


class Replies:
    """The answers of one connection, told apart by the last token of the subject they come on."""

    def __init__(self, inbox: str) -> None:
        self.inbox = inbox
        self._count = 0
        self._secrets = ""
        self._waiting: dict[str, Expected] = {}

    def expect(self) -> Expected:
        """Prepare for one answer; close it whatever happens."""
        self._count += 1
        place = self._count % _AT_ONCE * _DIGITS
        if not place or not self._secrets:
            # Drawn for many at once: asking the kernel for each is dear.
            self._secrets = os.urandom(_AT_ONCE * _DIGITS // 2).hex()
        # With a part that cannot be guessed, so that nobody else can answer.
        token = f"{self._count}-{self._secrets[place : place + _DIGITS]}"
        expected = self._waiting[token] = Expected(self, token)
        return expected

    def arrived(self, msg: Msg) -> None:
        """Hand an answer over. One that nobody waits for is dropped."""
        expected = self._waiting.get(msg.subject.rpartition(".")[2])
        if expected is not None and not expected.future.done():
            expected.future.set_result(msg)

    def forget(self, token: str) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop(token, None)
