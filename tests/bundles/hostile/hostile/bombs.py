"""Things that grow until something stops them."""

import asyncio
import contextlib
import ctypes
import os
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

_MIB = 1 << 20
_MANY = 2000


async def none() -> str:
    """Nothing, for once."""
    return "open"


async def forks() -> str:
    """Processes that make processes, none of which would last."""
    made = 0
    try:
        while made < _MANY:
            if os.fork() == 0:
                os._exit(0)
            made += 1
    except OSError as error:
        return f"{type(error).__name__} after {made}"
    return f"open: {made}"


async def threads() -> str:
    """Threads that wait."""
    made, done = 0, threading.Event()
    try:
        while made < _MANY:
            threading.Thread(target=done.wait, daemon=True).start()
            made += 1
    except RuntimeError:
        return f"RuntimeError after {made}"
    finally:
        done.set()
    return f"open: {made}"


async def memory() -> str:
    """More of it at every turn, slowly enough that the heart goes on beating."""
    hoard: list[bytearray] = []
    try:
        while True:
            hoard.append(bytearray(b"x" * (8 * _MIB)))
            await asyncio.sleep(0.01)
    except MemoryError:
        hoard.clear()
        return "MemoryError"


async def disk() -> str:
    """File after file, none of them too large."""
    number = 0
    while True:
        (Path(tempfile.gettempdir()) / str(number)).write_bytes(b"x" * (4 * _MIB))
        number += 1
        await asyncio.sleep(0.01)


async def hidden() -> str:
    """Files that have no name any more, so that no listing shows them."""
    held = []
    while True:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        file.write(b"x" * (4 * _MIB))
        held.append(file)
        await asyncio.sleep(0.01)


async def mapped() -> str:
    """Files that have neither a name nor a descriptor, but a page in memory."""
    libc = ctypes.CDLL(None)
    while True:
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"x" * _MIB)
            libc.mmap(None, 4096, 1, 2, file.fileno(), ctypes.c_long(0))
        await asyncio.sleep(0.01)


async def sent() -> str:
    """Files that are nowhere but on their way from one socket to another."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    while theirs.fileno() > 0:
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"x" * _MIB)
            with contextlib.suppress(OSError):
                socket.send_fds(ours, [b"x"], [file.fileno()])
        await asyncio.sleep(0.01)
    return "open"


async def files() -> str:
    """Many names for nothing."""
    number = 0
    while True:
        for _ in range(100):
            (Path(tempfile.gettempdir()) / str(number)).touch()
            number += 1
        await asyncio.sleep(0.01)


async def processor() -> str:
    """All there is of one processor, with a heart that beats."""
    while True:
        sum(range(20_000))
        await asyncio.sleep(0)


BOMBS: dict[str, Callable[[], Awaitable[str]]] = {
    bomb.__name__: bomb for bomb in (none, forks, threads, memory, disk, hidden, mapped, sent, files, processor)
}
