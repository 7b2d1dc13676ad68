"""The process that workers are forked from: it has imported everything and knows nothing.

It holds no secret, no thread and no event loop, so a copy of it is a clean start that costs
a few milliseconds and shares its memory. It is started with an empty environment, takes one
order at a time from its runtime, forks, and tells how its children ended. It ends
with its runtime, and its children with it, by the kernel's parent-death signal.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

import msgspec
from msgspec import Struct

from contracts.redaction import redact_text
from runtime import box
from runtime.box import kernel, paths

MAX_MESSAGE_BYTES = 64 * 1024
MAX_DESCRIPTORS = 8
_COMMON = ("runtime.worker", "runtime.sdk")
_COMMON_TO_BUNDLES = ("aiohttp", "dns.asyncresolver", "icmplib")


class Fork(Struct, frozen=True, tag="fork"):
    """Fork one worker. With it travel its output, its end of the pair, and its ICMP sockets."""

    id: int
    spec: box.Spec


class Awake(Struct, frozen=True, tag="awake"):
    """Everything is imported; `resident` bytes of it are shared with every worker. `found`: what its box can be."""

    pid: int
    resident: int
    found: box.Found


class Forked(Struct, frozen=True, tag="forked"):
    """The worker of an order runs."""

    id: int
    pid: int


class NotForked(Struct, frozen=True, tag="not-forked"):
    """The kernel refused."""

    id: int
    reason: str


class Exited(Struct, frozen=True, tag="exited"):
    """A worker ended: `status` is its exit code, or the negative number of the signal that killed it."""

    pid: int
    status: int


Report = Awake | Forked | NotForked | Exited


def main(arguments: Sequence[str]) -> None:
    """Serve orders on an inherited socket: `arguments` are its number, the runtime's process id, and a Plan."""
    control = socket.socket(fileno=int(arguments[0]))
    kernel.die_with_parent(int(arguments[1]))
    kernel.name_process("mmn-zygote")
    kernel.few_arenas()
    # Whoever got into it would be in every worker after that.
    kernel.open_to_own_user(yes=False)
    plan = msgspec.json.decode(arguments[2], type=box.Plan)
    for name in _COMMON:
        importlib.import_module(name)
    for name in _COMMON_TO_BUNDLES:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    os.environ.clear()  # noqa: TID251  # not read but forgotten
    os.chdir("/")
    readable = paths.readable()
    found = box.look(plan, readable)
    # What is shared stays shared only while the collector does not touch it.
    gc.collect()
    gc.disable()
    gc.freeze()
    assert threading.active_count() == 1, "a thread would be lost in the children, with what it has locked"
    serve(control, found, readable)


def serve(control: socket.socket, found: box.Found, readable: Sequence[str]) -> None:
    """Fork on orders and reap children until the runtime closes its end."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    children: dict[int, box.Spec] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    _tell(control, Awake(os.getpid(), _resident(), found))
    while True:
        ready = {number for number, _ in poll.poll()}
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            for exited in _reap():
                # First, so that nobody is left in its folder when the runtime removes that.
                _sweep(children.pop(exited.pid, None))
                _tell(control, exited)
        if control.fileno() in ready:
            data, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS)
            if not data:
                break
            order = msgspec.msgpack.decode(data, type=Fork)
            report = _fork(order, descriptors, readable)
            for descriptor in descriptors:
                os.close(descriptor)
            if isinstance(report, Forked):
                children[report.pid] = order.spec
            _tell(control, report)
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _tell(control: socket.socket, report: Report) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        control.send(msgspec.msgpack.encode(report))


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  # plain, in a process that does little
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _reap() -> list[Exited]:
    """Collect ended children, each together with the processes it left behind in its session's group."""
    ended: list[Exited] = []
    while True:
        try:
            # Left waiting at first: while the dead child keeps its number, nobody else can have it.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return ended
        if found is None:
            return ended
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(found.si_pid, signal.SIGKILL)
        pid, status = os.waitpid(found.si_pid, 0)
        ended.append(Exited(pid, os.waitstatus_to_exitcode(status)))


def _sweep(spec: box.Spec | None) -> None:
    """End what a worker with a user of its own has left behind, in whatever session, where it could leave anything."""
    if spec is None or spec.user is None or "seccomp" in spec.measures:
        return
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(spec.user, spec.user, spec.user)
            # As this user, that is everybody of this user, and nobody else.
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _fork(order: Fork, descriptors: Sequence[int], readable: Sequence[str]) -> Report:
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        return NotForked(order.id, error.strerror or "fork failed")
    if pid == 0:
        _child(order, descriptors, readable, parent)
    return Forked(order.id, pid)


def _child(order: Fork, descriptors: Sequence[int], readable: Sequence[str], parent: int) -> NoReturn:
    """Become a worker. Nothing of the zygote's own stack is ever returned to."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        output, *keep = descriptors
        pair, *icmp = box.enter(order.spec, parent=parent, output=output, keep=keep, readable=readable)
        gc.enable()
        worker = importlib.import_module("runtime.worker")
        status = worker.main(pair, icmp)
    except BaseException:  # noqa: BLE001  # nothing may escape into the zygote's loop
        sys.stderr.write(redact_text(traceback.format_exc()))
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
