"""How much memory something takes at its peak, as Python's allocator counts it."""

import gc
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def at_most(limit: int) -> Generator[None]:
    """Fail when more than `limit` bytes are held at any moment inside."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= limit, f"{peak} bytes, more than {limit}"
