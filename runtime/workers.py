"""One worker as its runtime sees it: a process, the pair, what it said last, how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
from msgspec.structs import replace

from contracts import clock
from contracts.modules import Card
from runtime import scratch
from runtime.channel import (
    Assignment,
    Beat,
    BrokenFrame,
    Channel,
    Drain,
    FromWorker,
    Hello,
    Ready,
    Renew,
    Start,
    Unfit,
)
from runtime.forks import Process
from runtime.output import Output
from runtime.reconciler import Phase, Slot

log = structlog.get_logger(__name__)

SILENCE_S = 1.0
_S = 1_000_000_000
_STATUS_S = 0.1
_LAST_WORDS_S = 0.1
_LONGEST_SCHEMAS = 128 * 1024
_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended.

    `asked`: it was drained; `clean`: it left by itself when asked, or had nothing to finish;
    `blameless`: its function was not the cause.
    """

    reason: str
    asked: bool
    clean: bool
    blameless: bool


class Worker:
    """The handle of one worker. Nothing here waits but `ready` and `ended`, which resolve by themselves.

    `mint` makes a token for a public key; `on_ready` hears once of a worker that can be called, and
    `on_failed` at once of one that must be killed, before the process is gone.
    """

    def __init__(
        self,
        instance: str,
        slot: Slot,
        version: str,
        *,
        mint: Callable[[str], str],
        on_ready: Callable[[Worker], None],
        on_failed: Callable[[Worker, str], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.instance = instance
        self.slot = slot
        self.version = version
        self.phase: Phase = "starting"
        self.pid: int | None = None
        self.card: Card | None = None
        self.note = ""
        self.began_ns = clock.monotonic_ns()
        self.renew_at_ns: int | None = None
        self.announced_failed = False
        self.asked = False
        self.why = ""
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Ending] = loop.create_future()
        self._mint = mint
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._loop = loop
        self._seen_ns = 0
        self._reason = ""
        self._blameless = False
        self._key = ""
        self._assignment: Assignment | None = None
        self._channel: Channel | None = None
        self._output: Output | None = None
        self._pidfd: int | None = None
        self._log = log.bind(worker=instance, function=slot.function)

    @property
    def lifetime(self) -> float:
        """Seconds since it was begun."""
        return (clock.monotonic_ns() - self.began_ns) / _S

    @property
    def memory_mb(self) -> int | None:
        """The limit that its bundle declares; None before it has been given its place."""
        return self._assignment.manifest.limits.memory_mb if self._assignment else None

    @property
    def scratch(self) -> Path | None:
        """The folder that it may write to; None before it has one."""
        return Path(self._assignment.scratch) if self._assignment else None

    @property
    def user_key(self) -> str | None:
        """The public key its token was made for; None before it told."""
        return self._key or None

    def prepare(self, assignment: Assignment, user: int | None) -> tuple[socket.socket, int]:
        """Make the scratch folder, the pair and the output pipe. Returns the worker's ends, to be closed when they are handed over."""
        self._assignment = assignment
        scratch.make(Path(assignment.scratch), user)
        ours, theirs = socket.socketpair()
        output, inherited = os.pipe()
        self._channel = Channel(ours, FromWorker, self._told, self._pair_ended)
        self._output = Output(output, lambda line: self._log.info("worker printed", line=line))
        return theirs, inherited

    def forked(self, process: Process) -> None:
        """The process runs, or has run."""
        self.pid = process.pid
        process.on_exit(self._exited)
        try:
            # A number that cannot come to mean another process, and that tells of the end by itself.
            self._pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._process_gone()
            return
        self._loop.add_reader(self._pidfd, self._process_gone)
        if self.asked or self._reason:
            # Asked while it was being forked.
            self._kill_now()

    def _told(self, message: Hello | Ready | Unfit | Beat) -> None:
        self._seen_ns = clock.monotonic_ns()
        match message:
            case Hello() if not self._key and self._assignment is not None:
                self._key = message.key
                try:
                    token = self._mint(self._key)
                except ValueError as error:
                    self.kill(f"no token for its key: {error}")
                    return
                self._send(Start(token, self._assignment))
            case Ready() if _too_long(message):
                self.kill(f"its schemas are over the limit of {_LONGEST_SCHEMAS} bytes")
            case Ready() if self.phase == "starting" and self._assignment is not None:
                self.card = card_of(self._assignment, message)
                self.note = message.note[:_LONGEST_REASON]
                self.phase = "ready"
                if not self.ready.done():
                    self.ready.set_result(None)
                self._on_ready(self)
            case Unfit():
                self._reason = self._reason or message.reason[:_LONGEST_REASON]
                self._blameless = message.blameless
            case _:
                pass

    def _send(self, message: Start | Renew | Drain) -> None:
        if self._channel is not None:
            with contextlib.suppress(BrokenFrame):
                self._channel.send(message)

    def renew(self) -> None:
        """Give it a fresh token for the key that it has."""
        if self._key:
            self._send(Renew(self._mint(self._key)))

    def drain(self, grace_s: float) -> None:
        """Let it finish within `grace_s`. One that is not ready has nothing to finish, and is killed."""
        if self.asked:
            return
        self.asked = True
        if self.phase == "starting":
            self._kill_now()
        else:
            self._send(Drain(grace_s))
        self.phase = "draining"

    def is_wanted(self) -> bool:
        """Whether nobody has asked it to leave."""
        return not self.asked

    def judge(self, now_ns: int) -> None:
        """Kill it if it has been silent for too long, once what waits in the pair was read."""
        if self.phase == "starting" or self.ended.done() or self._channel is None:
            return
        self._channel.receive()
        if now_ns - self._seen_ns > SILENCE_S * _S:
            self.kill(f"no heartbeat for {SILENCE_S} s: killed", last_words=True)

    def forgive(self, late_ns: int) -> None:
        """The runtime itself was away for this long, which counts against nobody."""
        self._seen_ns += late_ns

    def kill(self, reason: str, *, last_words: bool = False) -> None:
        """End it at once, for a reason that is announced now. With `last_words` it first prints where it stands."""
        if self._reason or self.ended.done():
            return
        self._reason = reason
        self.asked = False
        self._on_failed(self, reason)
        if last_words and self._signal(signal.SIGUSR2):
            self._loop.call_later(_LAST_WORDS_S, self._kill_now)
        else:
            self._kill_now()

    def _kill_now(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> bool:
        if self._pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def _pair_ended(self, reason: str) -> None:
        if reason != "closed":
            self._reason = self._reason or reason
        # It may have closed the pair and live on; an exit that is under way comes first.
        self._loop.call_later(_STATUS_S / 2, self._kill_now)

    def _process_gone(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
        # The zygote's report names the exit code; without one the zygote is gone too.
        self._loop.call_later(_STATUS_S, self._end, "ended together with the zygote", None)

    def _exited(self, status: int) -> None:
        text = f"killed by signal {-status}" if status < 0 else f"exited by itself with code {status}"
        self._end(text, status)

    def _end(self, text: str, status: int | None = None) -> None:
        if self.ended.done():
            return
        if self._channel is not None:
            self._channel.receive()
        if self._output is not None:
            self._output.read()
        reason = self._reason or text
        if self._output is not None and not self.asked and not self._reason and self._output.last:
            reason = f"{reason}; last line: {self._output.last[:200]}"
        clean = status == 0 or not self.ready.done()
        lost = status is None and not self.asked
        self.ended.set_result(Ending(reason, self.asked, clean, self._blameless or lost))

    def abandoned(self, reason: str, *, blameless: bool) -> Ending:
        """It could not even be forked."""
        ending = Ending(reason, self.asked, clean=True, blameless=blameless)
        if not self.ended.done():
            self.ended.set_result(ending)
        return ending

    def close(self) -> None:
        """Let go of everything but the folder that it wrote to."""
        if self._channel is not None:
            self._channel.close()
        if self._output is not None:
            self._output.close()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None


def _too_long(said: Ready) -> bool:
    """Whether what is announced of it, and asked for at every discovery, would be too much."""
    return len(msgspec.json.encode((said.params_schema, said.result_schema))) > _LONGEST_SCHEMAS


def card_of(assignment: Assignment, said: Ready) -> Card:
    """What is announced: all of it the runtime's own knowledge but the schemas."""
    manifest = assignment.manifest
    return Card(
        function=assignment.function,
        version=assignment.version,
        digest=assignment.digest,
        summary=manifest.summary,
        limits=replace(manifest.limits),
        needs=list(manifest.needs),
        params_schema=said.params_schema,
        result_schema=said.result_schema,
        box=assignment.box,
        egress=assignment.egress,
        gaps=assignment.gaps,
    )
