"""Structured logs: redacted, to stderr, and to `mmn.logs.<instance>` for everyone who may read.

Nothing leaves the process before `redact` has seen it: credentials in URLs, tokens, NATS
seeds and JWTs, e-mail addresses, client addresses, and values under telling names.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from contracts import clock, codec, subjects
from contracts.bus import Bus
from contracts.modules import Log

HIDDEN = "[redacted]"
_BUFFERED_LINES = 1000
_SECRET_NAMES = re.compile(
    r"pass(word|wd)?$|secret|token|seed|credential|authorization|cookie|api_?key|private", re.IGNORECASE
)
_CLIENT_NAMES = re.compile(r"^(client|remote|peer)(_?(addr|address|ip|host))?$", re.IGNORECASE)
_LONGEST_TEXT = 16 * 1024
"""Longer text is cut first: it comes from targets and exceptions, and redacting must not take long."""
_LONGEST_LINE = 128 * 1024
# Every repetition is bounded, or text made for it would take time in its square.
_CREDENTIALS = (
    (re.compile(r"(?<=://)[^\s/?#]{1,512}@"), HIDDEN + "@"),
    (
        re.compile(r"\b(authorization\s*[:=]\s*)\S{1,2048}(?:[ \t]+\S{1,2048})?", re.IGNORECASE),
        r"\1" + HIDDEN,
    ),
    (re.compile(r"\b(?:Bearer|Basic|Token)\s+[A-Za-z0-9+/_.=-]{8,2048}", re.IGNORECASE), HIDDEN),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{0,1024}"), HIDDEN),
    (re.compile(r"\bS[OANUXC][A-Z2-7]{56}\b"), HIDDEN),
    (
        re.compile(r"\b((?:access_?)?token|passw(?:or)?d|secret|api_?key|credential)=[^\s&\"']{1,2048}", re.IGNORECASE),
        r"\1=" + HIDDEN,
    ),
)
_PATTERNS = (
    *_CREDENTIALS,
    (re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}\b"), HIDDEN),
)


def redact_text(text: str) -> str:
    """Hide what looks like a credential or a person in free text."""
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]} [cut]"
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def redact(value: Any, name: str = "") -> Any:
    """Hide secrets in plain data, by the name a value stands under and by what it looks like."""
    if name and (_SECRET_NAMES.search(name) or _CLIENT_NAMES.match(name)) and value not in (None, "", False, True):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {redact_text(str(key)): redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(str(value))


def conceal(value: Any, name: str = "") -> Any:
    """Hide credentials in plain data of a job, its parameters above all, and leave what was measured as it is.

    Unlike log lines, results are about addresses, may hold an e-mail address that a name server answered,
    and know numbers under names such as `seed`.
    """
    if isinstance(value, str):
        if value and _SECRET_NAMES.search(name):
            return HIDDEN
        for pattern, instead in _CREDENTIALS:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, Mapping):
        return {key: conceal(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [conceal(item, name) for item in value]
    return value


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
    logging.basicConfig(level=logging.WARNING, force=True, handlers=[_ToStructlog()])
    return shipper


class _ToStructlog(logging.Handler):
    """Lines of libraries that use the standard module go the same way, redacted like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "asyncio" and "eof_received" in str(record.msg):
            # Said at the end of every TLS connection, and nothing follows from it.
            return
        log = structlog.get_logger(record.name)
        extra = {"trace": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        log.log(record.levelno, record.getMessage(), logger=record.name, **extra)
