from __future__ import annotations

import pytest

from echo import EchoParams, measure
from runtime.sdk import InvalidField
from runtime.sdk.testing import Bench


async def test_the_text_comes_back_after_the_delay() -> None:
    bench = Bench(deadline=5.0)
    measured = await bench.run(measure, EchoParams(text="salut", delay_ms=20))
    assert measured.data is not None
    assert measured.data.text == "salut"
    assert measured.data.waited_ns >= 19_000_000
    assert bench.events == [{"kind": "waiting", "delay_ms": 20}]


async def test_a_delay_beyond_the_limit_is_refused_by_name() -> None:
    with pytest.raises(InvalidField) as refused:
        await Bench().run(measure, {"delay_ms": 60_001})
    assert refused.value.field == "params.delay_ms"
