"""Structured logs: redacted, to stderr, and to `mmn.logs.<instance>` for everyone who may read.

Nothing leaves the process before `contracts.redaction` has seen it, tracebacks of a program that dies included.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections import deque
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

import msgspec
import structlog

from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.modules import Log
from contracts.redaction import redact, redact_text

_BUFFERED_LINES = 1000
_LONGEST_LINE = 128 * 1024


def _redacting(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value, key) for key, value in event.items()}


class LogShipper:
    """Keeps the newest lines until `run` has published them. Logging never waits for NATS."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.dropped = 0
        self._lines: deque[Log] = deque()
        self._wake = asyncio.Event()

    def __call__(self, _: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if len(self._lines) >= _BUFFERED_LINES:
            self._lines.popleft()
            self.dropped += 1
        rest = {key: value for key, value in event.items() if key not in {"event", "level", "timestamp"}}
        self._lines.append(
            Log(
                at=str(event.get("timestamp", "")),
                level=str(event.get("level", "info")),
                instance=self.instance,
                event=str(event.get("event", "")),
                fields=rest,
            )
        )
        self._wake.set()
        return event

    async def run(self, bus: Bus) -> None:
        """Publish lines as they come, until cancelled; then what is left."""
        subject = subjects.logs(self.instance)
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._flush(bus, subject)
        finally:
            if bus.nc.is_connected:
                await self._flush(bus, subject)

    async def _flush(self, bus: Bus, subject: str) -> None:
        while self._lines:
            data = _encoded(self._lines.popleft())
            if data is None:
                self.dropped += 1
            else:
                await bus.publish(subject, data)


def _encoded(line: Log) -> bytes | None:
    """A line as it is published, or None for one that cannot be: no line may end the shipping."""
    try:
        data = codec.encode(line, codec.JSON)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return None
    return data if len(data) <= _LONGEST_LINE else None


def _timestamp(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["timestamp"] = clock.utc_now()
    return event


def _json(value: Any, **_: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def configure(
    instance: str, *, level: str = "info", pretty: bool | None = None, stream: TextIO | None = None
) -> LogShipper:
    """Set up logging of this process to `stream`, by default stderr. `pretty` defaults to whether that is a terminal."""
    shipper = LogShipper(instance)
    target: TextIO = stream or sys.stderr
    if pretty is None:
        pretty = target.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(serializer=_json)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _timestamp,
            structlog.processors.format_exc_info,
            _redacting,
            shipper,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    sys.excepthook = _die
    logging.basicConfig(level=logging.WARNING, force=True, handlers=[_ToStructlog()])
    return shipper


def _die(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last words of a program, redacted like its others."""
    sys.stderr.write(redact_text("".join(traceback.format_exception(kind, error, trace))))


class _ToStructlog(logging.Handler):
    """Lines of libraries that use the standard module go the same way, redacted like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "asyncio" and "eof_received" in str(record.msg):
            # Said at the end of every TLS connection, and nothing follows from it.
            return
        log = structlog.get_logger(record.name)
        extra = {"trace": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        log.log(record.levelno, record.getMessage(), logger=record.name, **extra)
