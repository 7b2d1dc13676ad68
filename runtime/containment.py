"""Running a function's code so that nothing it raises, or refuses to end, reaches the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CANCEL_WITHIN_S = 1.0


class Escaped(Exception):
    """A function tried to end the process; asyncio would let it."""


class Stopped(Exception):
    """The function was told to end before it was done."""


async def contained(
    work: Coroutine[Any, Any, T],
    timeout: float,
    *,
    on_stubborn: Callable[[], None],
    stop: asyncio.Future[None] | None = None,
) -> T:
    """Run a function for at most `timeout` seconds, or until `stop` is done.

    Raises TimeoutError and Stopped for these two ends, whatever the function raised for all others; its own
    TimeoutError comes as RuntimeError. `on_stubborn` is called when it does not end though it was cancelled.
    """
    loop = asyncio.get_running_loop()
    # A task of its own, held here to its end: cancellation that the function raises, or swallows, stays in it.
    task, ended = loop.create_task(_kept_in(work)), loop.create_future()

    def end(_: object = None) -> None:
        if not ended.done():
            ended.set_result(None)

    task.add_done_callback(end)
    if stop is not None:
        stop.add_done_callback(end)
    timer = loop.call_later(timeout, end)
    try:
        await ended
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_WITHIN_S)
            if not task.done():
                on_stubborn()
            raise TimeoutError if stop is None or not stop.done() else Stopped
        if task.cancelled():
            raise RuntimeError("the function cancelled itself")
        try:
            return task.result()
        except TimeoutError as error:
            raise RuntimeError(f"TimeoutError: {error}") from error
    finally:
        timer.cancel()
        if not task.done():
            task.cancel()
        elif not task.cancelled():
            # Asked for, so that asyncio does not complain of an error nobody saw.
            task.exception()


async def _kept_in(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise Escaped(type(error).__name__) from error
