"""nats-py's client, with other habits where its own cost a process its life or most of its time.

It reconnects where the library closes for good, hands messages to plain functions without a queue and a task
between, and reads and writes headers without looking at each letter of names it has seen before. The library is pinned to one minor
version, since this relies on its inside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import nats.errors
import structlog
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg

log = structlog.get_logger(__name__)

_LONGEST_NAME = 128
"""A longer header name is none of ours, and is not worth remembering."""


@lru_cache(maxsize=1024)
def _name_of(raw: bytes) -> str | None:
    """A header's name, or None when it is none: names are ASCII without spaces. Those that are seen are few."""
    name = raw.strip()
    return name.decode() if name.isascii() and len(name.split()) == 1 else None


class Client(NatsClient):
    """One connection. What comes for a subscription in `listeners` is handed over as it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: dict[int, Callable[[Msg], None]] = {}

    async def _process_err(self, err_msg: str) -> None:
        if self.is_connected and "permissions violation" not in err_msg.lower():
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg.strip(chr(39))}"))
            return
        await super()._process_err(err_msg)

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002  # the library's signature
        if not self.is_connected:
            # It has nowhere to go, and uvloop, unlike asyncio, raises when a closed transport is written to.
            self._pending = []
            self._pending_data_size = 0
        await super()._close(status, do_cbs)

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
