"""nats-py's client, with other habits where its own cost a process its life or most of its time.

The library closes for good on most errors that a server tells, ends its reading at the first message that it cannot
decode, and waits without limit for a frozen peer to take its last bytes. This one reconnects, and goes on reading.
It hands messages to plain functions without a queue and a task between, and does not look at each letter of header
names it has seen before. The library is pinned to one minor version, since this relies on its inside.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol import parser

from contracts import clock

log = structlog.get_logger(__name__)

RECONNECT_WAIT_S = 0.25
_CANCEL_AGAIN_S = 0.1
_LONGEST_NAME = 128
"""A longer header name is none of ours, and is not worth remembering."""

# A subject may hold a form feed or a vertical tab; the library takes them for the end of it, and the
# whole message for a broken protocol.
parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n")


@lru_cache(maxsize=1024)
def _name_of(raw: bytes) -> str | None:
    """A header's name, or None when it is none: names are ASCII without spaces. Those that are seen are few."""
    name = raw.strip()
    return name.decode() if name.isascii() and len(name.split()) == 1 else None


def _read(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


class Client(NatsClient):
    """One connection. What comes for a subscription in `listeners` is handed over as it is read.

    `unreadable` counts what could not be decoded as it was sent; `interruption` says what ended the last connection;
    `refused_since_ns` is when a server first refused the credentials, on the monotonic clock, None once one took them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.listeners: dict[int, Callable[[Msg], None]] = {}
        self.unreadable = 0
        self.interruption = ""
        self.refused_since_ns: int | None = None
        self._owed = 0
        self._square = asyncio.Event()
        self._square.set()

    async def hear(self, subject: str, callback: Callable[[Msg], None], *, queue: str = "") -> Subscription:
        """Subscribe with a plain function, called in the reading of the connection itself."""

        async def queued(msg: Msg) -> None:
            # For what arrived before the listener was known.
            callback(msg)

        subscription = await self.subscribe(subject, queue=queue, cb=queued)
        self.listeners[subscription._id] = callback
        return subscription

    def owe(self, task: asyncio.Task[None]) -> None:
        """Until this task has ended, it may give an answer that only this connection can give."""
        self._owed += 1
        self._square.clear()
        task.add_done_callback(self._paid)

    def _paid(self, _task: asyncio.Task[None]) -> None:
        self._owed -= 1
        if not self._owed:
            self._square.set()

    async def retire(self, *, within: float) -> None:
        """Give the answers that are owed, then leave. It does not reconnect any more."""
        self.options["allow_reconnect"] = False
        try:
            async with asyncio.timeout(within):
                await self._square.wait()
        except TimeoutError:
            log.warning("answers not given on a connection that ended", owed=self._owed)
        await self.leave(within=within)

    async def leave(self, *, within: float) -> None:
        """Deliver what is pending both ways, then close. Never hangs, also when the server has frozen."""
        if not self.is_connected:
            await self.abandon()
            return
        # A task, since the library swallows the cancellation of a drain and goes on waiting.
        leaving = asyncio.get_running_loop().create_task(self.drain())
        try:
            await asyncio.wait({leaving}, timeout=within)
        finally:
            await self.abandon()
            while not leaving.done():
                leaving.cancel()
                await asyncio.wait({leaving}, timeout=_CANCEL_AGAIN_S)
        if not leaving.cancelled() and (error := leaving.exception()):
            log.info("connection not drained", reason=str(error) or type(error).__name__)

    async def abandon(self) -> None:
        """Close now: what has not been sent is dropped, and a peer that does not read is not waited for."""
        self._forget_pending()
        self._abort()
        await self.close()

    def _forget_pending(self) -> None:
        self._pending = []
        self._pending_data_size = 0

    def _abort(self) -> None:
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    # --- errors end a connection, not the client -------------------------------------------------------------

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
            self.refused_since_ns = None
        except nats.errors.Error as error:
            if "authorization" in str(error).lower():
                self.refused_since_ns = self.refused_since_ns or clock.monotonic_ns()
            raise
        except (OSError, TimeoutError):
            # After a failed handshake nobody tells the library's stream that it has ended, and it would wait for ever.
            transport, self._transport = self._transport, None
            if transport is not None:
                transport.close()
            raise

    async def _process_err(self, err_msg: str) -> None:
        if self.is_connected and "permissions violation" not in err_msg.lower():
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg.strip(chr(39))}"))
            return
        await super()._process_err(err_msg)

    async def _process_op_err(self, e: Exception) -> None:
        self.interruption = str(e) or type(e).__name__
        await super()._process_op_err(e)

    async def _attempt_reconnect(self) -> None:
        # The old connection is of no use: it is not closed politely, since its peer may be frozen.
        self._abort()
        while True:
            try:
                await super()._attempt_reconnect()
            except Exception:
                # Another attempt may have taken over, when the new connection broke at once.
                if self.is_connected or self._reconnection_task is not asyncio.current_task():
                    return
                # Credentials, callbacks, a server's greeting: whatever it was, a dead task would be a dead process.
                log.exception("reconnection failed")
                self._status = NatsClient.RECONNECTING
                await asyncio.sleep(RECONNECT_WAIT_S)
            else:
                return

    async def _connect_to_server(self, s: Any) -> None:
        # The library leaves the connection of an attempt that was refused to the garbage collector.
        self._abort()
        await super()._connect_to_server(s)

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002  # the library's signature
        self._square.set()
        if not self.is_connected:
            # It has nowhere to go, and uvloop, unlike asyncio, raises when a closed transport is written to.
            self._forget_pending()
        await super()._close(status, do_cbs)

    # --- a message that cannot be read ends nothing ----------------------------------------------------------

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        listener = self.listeners.get(sid)
        if listener is None or sid not in self._subs:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        read = await self._process_headers(headers) if headers else None
        try:
            listener(self._build_message(sid, subject, reply, data, read))
        except Exception:
            # One message that cannot be handled must not end the reading of all others.
            log.exception("message not handled", subject=subject.decode(errors="replace"))

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):
            self.unreadable += 1
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        whole = (_read(subject), _read(reply))
        if None in whole:
            self.unreadable += 1
        # An answer to half a subject would go to somebody else, so there is none to give.
        return Msg(self, whole[0] or subject.decode(errors="replace"), whole[1] or "", data, headers, _sid=sid)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self.listeners.pop(sid, None)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in raw.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            key = _name_of(name) if colon and len(name) <= _LONGEST_NAME else None
            if key is not None:
                found[key] = value.strip().decode("utf-8", "replace")
        return found


class Listening:
    """A subscription that can move to another connection. `forget` is called when it ends by request."""

    def __init__(
        self,
        begin: Callable[[Client], Awaitable[Subscription]],
        current: Subscription,
        forget: Callable[[Listening], None],
    ) -> None:
        self.begin = begin
        self._forget = forget
        self.current = current

    def move(self, to: Subscription) -> Subscription:
        """Go on with what `begin` has made on another connection. Returns the one before, to be left."""
        before, self.current = self.current, to
        return before

    async def unsubscribe(self) -> None:
        """Take no more messages, not even those that wait. Raises nats.errors."""
        self._forget(self)
        await self.current.unsubscribe()

    async def drain(self) -> None:
        """Take no new messages, but those that wait. Raises nats.errors."""
        self._forget(self)
        await self.current.drain()
