"""The runtime's hold on its zygote: orders forks, hears of exits, starts it again when it dies."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

import runtime
from contracts.errors import MmnError
from runtime import box
from runtime.restart import backoff
from runtime.zygote import MAX_MESSAGE_BYTES, Awake, Exited, Fork, Forked, NotForked, Report

log = structlog.get_logger(__name__)

_FORK_S = 10.0
_FULL_PAUSE_S = 0.005
_END_S = 2.0
_STEADY_S = 10.0


class CannotFork(MmnError):
    """No process could be made. The message says why."""


class Process:
    """A forked worker. `status` is its exit code or negative signal, once the zygote has told."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self._on_exit: Callable[[int], None] = lambda _: None

    def exited(self, status: int) -> None:
        """The zygote has told."""
        self.status = status
        self._on_exit(status)

    def on_exit(self, callback: Callable[[int], None]) -> None:
        """Call back with the status, at once if it has ended already."""
        self._on_exit = callback
        if self.status is not None:
            callback(self.status)


class Forks:
    """One zygote after another."""

    def __init__(self, plan: box.Plan) -> None:
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._orders: dict[int, asyncio.Future[Process]] = {}
        self._processes: dict[int, Process] = {}
        self._count = 0
        self._awake = asyncio.Event()
        self._lost = asyncio.Event()
        self.resident = 0
        """Memory in bytes that every worker shares with the zygote."""
        self.found = box.NOTHING
        """What the zygote found its workers can be confined by; nothing before it is awake."""

    @property
    def pid(self) -> int | None:
        """The zygote's process id."""
        return self._process.pid if self._process else None

    async def awake(self) -> box.Found:
        """Wait for a zygote. Returns what it found."""
        await self._awake.wait()
        return self.found

    async def run(self) -> None:
        """Keep a zygote until cancelled; then end it, and with it every worker that is left."""
        failures = 0
        try:
            while True:
                begun = asyncio.get_running_loop().time()
                self._lost.clear()
                self._open()
                await self._lost.wait()
                self._shut("the zygote ended")
                failures = 1 if asyncio.get_running_loop().time() - begun > _STEADY_S else failures + 1
                log.error("the zygote ended; starting another", wait_s=backoff(failures))
                await asyncio.sleep(backoff(failures))
        finally:
            self._shut("the runtime stops")

    def _open(self) -> None:
        # Messages keep their bounds, and the end of the other side is seen.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = msgspec.json.encode(self._plan).decode()
        with theirs:
            # Found by its working directory, so that its environment can be empty. From the main thread,
            # whose end is what the kernel takes for the parent's.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runtime.zygote", str(theirs.fileno()), str(os.getpid()), plan],
                cwd=Path(runtime.__file__).resolve().parents[1],
                env={},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        ours.setblocking(False)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours, self._receive)

    def _receive(self) -> None:
        control = self._control
        while control is not None and control is self._control:
            try:
                data = control.recv(MAX_MESSAGE_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(control)
                self._awake.clear()
                self._lost.set()
                return
            self._told(msgspec.msgpack.decode(data, type=Report))

    def _told(self, report: Report) -> None:
        match report:
            case Awake():
                self.resident, self.found = report.resident, report.found
                self._awake.set()
            case Forked() | NotForked():
                order = self._orders.pop(report.id, None)
                if isinstance(report, Forked):
                    process = self._processes[report.pid] = Process(report.pid)
                    if order is not None and not order.done():
                        order.set_result(process)
                elif order is not None and not order.done():
                    order.set_exception(CannotFork(f"no process: {report.reason}"))
            case Exited():
                gone = self._processes.pop(report.pid, None)
                if gone is not None:
                    gone.exited(report.status)

    async def fork(self, spec: box.Spec, descriptors: Sequence[int]) -> Process:
        """Fork a worker and hand it these descriptors: output, its end of the pair, ICMP sockets. Raises CannotFork."""
        try:
            async with asyncio.timeout(_FORK_S):
                await self._awake.wait()
                self._count += 1
                order: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
                self._orders[self._count] = order
                await self._order(Fork(self._count, spec), descriptors)
                return await order
        except TimeoutError:
            raise CannotFork("the zygote does not answer") from None
        except OSError as error:
            raise CannotFork(f"the zygote cannot be reached: {error.strerror}") from error

    async def _order(self, order: Fork, descriptors: Sequence[int]) -> None:
        data = msgspec.msgpack.encode(order)
        while True:
            if self._control is None:
                raise CannotFork("the zygote ended")
            try:
                socket.send_fds(self._control, [data], descriptors)
            except BlockingIOError:
                await asyncio.sleep(_FULL_PAUSE_S)
            else:
                return

    def _shut(self, reason: str) -> None:
        control, self._control = self._control, None
        process, self._process = self._process, None
        self._awake.clear()
        if control is not None:
            asyncio.get_running_loop().remove_reader(control)
            control.close()
        for order in self._orders.values():
            if not order.done():
                order.set_exception(CannotFork(reason))
        self._orders.clear()
        self._processes.clear()
        if process is not None:
            # It has nothing to finish: its end takes the workers along, by the kernel's word.
            process.kill()
            process.wait(_END_S)
