from __future__ import annotations

import asyncio
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from types import ModuleType

import pytest

from contracts.bundles import inspect_wheel
from gateway.cli.scenarios import bundles
from runtime.sdk.testing import Bench


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], ModuleType]:
    """Imports the one package of a wheel, as a worker would."""

    def load(wheel: bytes) -> ModuleType:
        code = zipfile.ZipFile(BytesIO(wheel)).read("nap/__init__.py")
        module = ModuleType("nap")
        monkeypatch.setitem(sys.modules, "nap", module)
        exec(compile(code, "nap", "exec", dont_inherit=True), vars(module))  # noqa: S102  # that is the test
        return module

    return load


def test_the_wheel_is_one_that_the_gateway_takes() -> None:
    info = inspect_wheel(bundles.nap("nap-two", "1.2.3", concurrency=3))
    assert (info.function, info.version, info.manifest.limits.concurrency) == ("nap-two", "1.2.3", 3)


def test_the_same_wish_gives_the_same_bytes() -> None:
    assert bundles.nap("nap") == bundles.nap("nap")
    assert bundles.nap("nap", ms=1) != bundles.nap("nap", ms=2)


def test_it_waits_as_long_as_it_is_told(loaded: Callable[[bytes], ModuleType]) -> None:
    module = loaded(bundles.nap("nap", ms=7))
    measured = asyncio.run(Bench().run(module.measure, {}))
    assert measured.data is not None
    assert measured.data.waited_ns >= 7_000_000


def test_a_broken_one_is_broken_where_it_says(loaded: Callable[[bytes], ModuleType]) -> None:
    with pytest.raises(RuntimeError, match="cannot be imported"):
        loaded(bundles.nap("nap", at_import=bundles.CRASHES_AT_IMPORT))
    module = loaded(bundles.nap("nap", in_measure=bundles.FAILS_SELF_TEST))
    with pytest.raises(RuntimeError, match="self-test"):
        asyncio.run(Bench().run(module.measure, {"ms": 1}))
    module = loaded(bundles.nap("nap", in_measure=bundles.FAULTS))
    assert asyncio.run(Bench().run(module.measure, {"ms": 1})).data is not None
    with pytest.raises(RuntimeError, match="faults"):
        asyncio.run(Bench().run(module.measure, {"ms": 2}))
