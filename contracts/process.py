"""How a service process begins and ends: signals, one event loop, one clear line on failure."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvloop

from contracts.errors import MmnError

_YOUNG_OBJECTS = 10_000
"""Objects made between two looks of the garbage collector: a few hundred jobs' worth, not one job's."""


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets; the service then drains and returns."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def run(name: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run a service to its end. Returns the exit status: 0, or 1 with the reason on stderr.

    Errors of our own are one line for the operator; anything else is a bug and keeps its trace.
    """
    # What is imported by now lives as long as the process: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    except MmnError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    except ExceptionGroup as group:
        ours, others = group.split(MmnError)
        if others is not None:
            raise
        for leaf in _leaves(ours):
            sys.stderr.write(f"{name}: {leaf}\n")
        return 1
    return 0


def _leaves(group: BaseExceptionGroup[MmnError] | None) -> Iterator[BaseException]:
    for error in group.exceptions if group else ():
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
