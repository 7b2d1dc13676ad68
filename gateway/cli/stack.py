"""Start programs, keep them running, stop them in order, and leave none behind.

Each program runs in a session of its own, so that Ctrl-C in the terminal reaches `mmn` alone and the
programs can be stopped one after the other. The kernel kills them should `mmn` itself be killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from contracts import clock
from gateway.cli import settings
from gateway.cli.exits import Exit, Stop

T = TypeVar("T")

HEALTHY_S = 5.0
"""A program that lived this long starts with a clean slate."""
LIVES = 5
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
_TAIL_BYTES = 4096
_TAIL_LINES = 5
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after this many seconds."""

    wait: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It lived shortly too often."""

    lives: int


def after_exit(lifetimes: Sequence[float], *, healthy: float = HEALTHY_S, limit: int = LIVES) -> Restart | GiveUp:
    """Decide what follows a program's end from the lifetimes of all its runs, the last one last."""
    short = 0
    for lifetime in reversed(lifetimes):
        if lifetime >= healthy:
            break
        short += 1
    if short >= limit:
        return GiveUp(short)
    return Restart(min(FIRST_WAIT_S * 2 ** max(short - 1, 0), LONGEST_WAIT_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. Command and environment are asked for at every start, since ports become known.

    `listening` waits, given the pid, until the program serves; `grace` is the time it has to stop.
    """

    name: str
    command: Callable[[], Sequence[str]]
    environment: Callable[[], dict[str, str]]
    log: Path
    folder: Path
    grace: float = 10.0
    listening: Callable[[int], Coroutine[Any, Any, object]] | None = None


class Ended(Exception):
    """The stack has to end: by a signal when `why` is None, else because a program cannot be kept running."""

    def __init__(self, why: Stop | None) -> None:
        super().__init__("interrupted" if why is None else str(why))
        self.why = why


class _Keeper:
    """Keeps one program running until it is told to stop."""

    def __init__(self, program: Program, stack: Stack) -> None:
        self.program = program
        self.pid: int | None = None
        self.halt = asyncio.Event()
        self._stack = stack
        self._process: asyncio.subprocess.Process | None = None
        self._gone = asyncio.Event()

    async def run(self) -> None:
        lifetimes: list[float] = []
        try:
            while not self.halt.is_set():
                began = clock.monotonic_ns()
                status = await self._live()
                if self.halt.is_set():
                    return
                lifetimes.append((clock.monotonic_ns() - began) / 1e9)
                after = after_exit(lifetimes)
                if isinstance(after, GiveUp):
                    self._stack.end(_gave_up(self.program, status, after.lives))
                    return
                self._stack.say(f"{self.program.name} {_told(status)}; starting it again")
                await self._pause(after.wait)
        finally:
            self._gone.set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.halt.wait()

    async def _live(self) -> int:
        process = self._process = await _start(self.program)
        if self.halt.is_set():
            self.kill()
        self.pid = process.pid
        self._stack.changed()
        try:
            async with asyncio.TaskGroup() as group:
                listening = self.program.listening
                opened = group.create_task(listening(process.pid)) if listening else None
                status = await process.wait()
                if opened is not None:
                    opened.cancel()
        finally:
            self.kill()
            self.pid = None
        # What it started may outlive it, and would use the same names as the next one.
        _kill_session(process.pid)
        return status

    async def stop(self) -> None:
        """Ask it to end, insist after its grace, and return when it is gone."""
        self.halt.set()
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.program.grace):
                    await self._gone.wait()
        self.kill()
        await self._gone.wait()

    def kill(self) -> None:
        """End it and all it started, at once."""
        if self._process is not None and self._process.returncode is None:
            _kill_session(self._process.pid)


class Stack:
    """Programs that run together. `say` prints a line for people; `changed` is called when a pid changes."""

    def __init__(
        self, group: asyncio.TaskGroup, *, say: Callable[[str], None], changed: Callable[[], None] = lambda: None
    ) -> None:
        self._group = group
        self.say = say
        self.changed = changed
        self._keepers: dict[str, _Keeper] = {}
        self._ended = asyncio.Event()
        self._why: Stop | None = None

    def pid(self, name: str) -> int | None:
        """The pid of a program now; None while it is down."""
        keeper = self._keepers.get(name)
        return keeper.pid if keeper else None

    def end(self, why: Stop | None = None) -> None:
        """Make `during` raise Ended."""
        if not self._ended.is_set():
            self._why = why
            self._ended.set()

    def obey_signals(self) -> None:
        """SIGINT and SIGTERM end the stack in order; a second one kills everything at once."""

        def received() -> None:
            if self._ended.is_set():
                self.kill()
            self.end()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, received)

    def start(self, program: Program) -> None:
        """Start a program and keep it running; returns at once."""
        program.log.write_bytes(b"")
        keeper = self._keepers[program.name] = _Keeper(program, self)
        self._group.create_task(keeper.run(), name=program.name)

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work as long as the stack holds. Raises Ended when it does not."""
        job = self._group.create_task(_outcome(work))
        end = self._group.create_task(self._ended.wait())
        try:
            await asyncio.wait({job, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
            if not job.done():
                job.cancel()
                await asyncio.wait({job})
        if job.cancelled():
            raise Ended(self._why)
        value, error = job.result()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # no error, so there is a value

    async def forever(self) -> None:
        """Wait until the stack has to end. Raises Ended."""
        await self._ended.wait()
        raise Ended(self._why)

    async def stop(self, *waves: Sequence[str]) -> None:
        """Stop wave after wave, the programs of one wave together; those not named come last."""
        named = {name for wave in waves for name in wave}
        rest = [name for name in self._keepers if name not in named]
        for keeper in self._keepers.values():
            # What dies from now on is not started again.
            keeper.halt.set()
        for wave in (*waves, rest):
            async with asyncio.TaskGroup() as group:
                for name in wave:
                    if name in self._keepers:
                        group.create_task(self._keepers[name].stop())

    def kill(self) -> None:
        """End everything at once."""
        for keeper in self._keepers.values():
            keeper.halt.set()
            keeper.kill()


async def _outcome(work: Coroutine[Any, Any, T]) -> tuple[T | None, Exception | None]:
    """Value or error, so that an error of the work does not cancel its task group."""
    try:
        return await work, None
    except Exception as error:  # noqa: BLE001  # handed on by the caller
        return None, error


async def _start(program: Program) -> asyncio.subprocess.Process:
    parent = os.getpid()

    def die_with_parent() -> None:
        if sys.platform == "linux":
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    with program.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *program.command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=program.folder,
            env=settings.child_environment(program.environment()),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _kill_session(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _told(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _gave_up(program: Program, status: int, lives: int) -> Stop:
    tail = tail_of(program.log)
    detail = f"{lives} short lives in a row; the last one {_told(status)}. The end of {program.log}:\n{tail}"
    return Stop(Exit.UNAVAILABLE, f"{program.name} does not stay up", detail)


def tail_of(log: Path) -> str:
    """The last lines of a log file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        return f"(cannot be read: {error.strerror})"
    return "\n".join(f"  {line[:500]}" for line in lines[-_TAIL_LINES:]) or "  (empty)"
