from __future__ import annotations

import pytest

from contracts.clock import monotonic_ns
from runtime.sdk import CannotMeasure, Context, IcmpSockets, InvalidField, Params, Report
from runtime.sdk.testing import Bench


class SeenParams(Params, frozen=True):
    number: int = 1


class Seen(Report, frozen=True):
    number: int
    seed: int
    left: float
    site: str


async def measure(params: SeenParams, ctx: Context) -> Seen:
    ctx.progress({"kind": "seen", "number": params.number})
    ctx.log.warning("looked", number=params.number)
    assert ctx.deadline_ns > monotonic_ns()
    return Seen(number=params.number, seed=ctx.seed, left=ctx.time_left(), site=ctx.labels["site"])


async def test_a_bench_shows_the_function_a_node_and_records_what_it_tells() -> None:
    bench = Bench(deadline=2.0, seed=7, labels={"site": "fra"})
    measured = await bench.run(measure, SeenParams(number=3))
    seen = measured.data
    assert isinstance(seen, Seen)
    assert (seen.number, seen.seed, seen.site) == (3, 7, "fra")
    assert 1.0 < seen.left <= 2.0
    assert bench.events == [{"kind": "seen", "number": 3}]
    assert bench.logs == [("warning", "looked", {"number": 3})]


async def test_parameters_given_as_a_dict_are_checked() -> None:
    with pytest.raises(InvalidField):
        await Bench().run(measure, {"nummer": 3})


def test_a_context_offers_what_the_node_has() -> None:
    with Bench(sockets=IcmpSockets.none(), deadline=0) as bench:
        ctx = bench.context()
        assert ctx.time_left() == 0.0
        assert ctx.admit("192.0.2.1") is None
        assert ctx.breaker("a") is ctx.breaker("a")
        assert ctx.clock().source
        with pytest.raises(CannotMeasure):
            ctx.icmp_socket(4)
