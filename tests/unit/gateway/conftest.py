from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.unit.gateway.plane import Plane


@pytest.fixture
async def plane() -> AsyncGenerator[Plane]:
    plane = Plane()
    yield plane
    await plane.parts.index.close()


@pytest.fixture
async def client(plane: Plane) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that has no token yet."""
    async with plane.client() as client:
        yield client
