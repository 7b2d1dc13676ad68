"""Puts each bundle folder on the path, as installed wheels would be, and lends ICMP sockets to live tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.sdk import CannotMeasure, IcmpSockets

for pyproject in sorted(Path(__file__).parent.glob("*/pyproject.toml")):
    sys.path.insert(0, str(pyproject.parent))


@pytest.fixture
def icmp_sockets() -> Iterator[IcmpSockets]:
    """Real ICMP sockets, closed afterwards. Skips, with the command that helps, where the host forbids them."""
    sockets = IcmpSockets()
    try:
        sockets.get(4)
    except CannotMeasure as reason:
        pytest.skip(str(reason))
    yield sockets
    sockets.close()
