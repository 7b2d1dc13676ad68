"""Whatever a function does, its caller hears why, and the worker serves the next call."""

import pytest

from contracts import streams, subjects
from contracts.bus import Bus
from contracts.errors import Refused
from contracts.tail import stream_status
from tests.kit.eventually import eventually
from tests.kit.node import Announcements, Node, call, deploy, stored_result
from tests.kit.wheels import BUNDLES, wheel_of


@pytest.fixture
async def raises(gateway: Bus, node: Node, announced: Announcements) -> str:
    """An instance of the bundle that fails."""
    assert node is not None
    await deploy(gateway, wheel_of(BUNDLES / "raises"))
    return (await announced.next("ready", "raises")).instance


async def test_each_way_to_fail_is_told_apart_and_stores_nothing(raises: str, anchor: Bus, gateway: Bus) -> None:
    expected = {
        "value-error": (500, "worker-fault", "ValueError: of no use"),
        "secret": (500, "worker-fault", "ValueError: could not open https://[redacted]@example.net/"),
        "cancelled": (500, "worker-fault", "RuntimeError: the function cancelled itself"),
        "timeout-error": (500, "worker-fault", "RuntimeError: TimeoutError: the function's own"),
        "cannot-measure": (424, "no-privilege", "no privilege here"),
        "group": (424, "no-address-family", "no IPv6"),
        "system-exit": (500, "worker-fault", "Escaped: SystemExit"),
        "invalid-field": (400, "invalid-field", "params.how: must be something else"),
        "other-type": (500, "worker-fault", "InvalidFunction: returned Other, but declares RaiseReport"),
        "sleep": (504, "worker-timeout", "the function ran past its limit of 1 s"),
    }
    for how, answer in expected.items():
        with pytest.raises(Refused) as refused:
            await call(anchor, "raises", raises, {"how": how})
        assert (refused.value.code, refused.value.reason, refused.value.message) == answer
    assert (await stream_status(gateway, streams.RESULTS)).state.messages == 0
    reply, _ = await call(anchor, "raises", raises)
    assert reply.failure == "timeout"
    result = await stored_result(gateway, reply.job)
    assert result.failure is not None
    assert (result.target, result.data) == ("192.0.2.1", None)


async def test_a_result_too_large_is_stored_as_a_failure(raises: str, anchor: Bus, gateway: Bus) -> None:
    reply, _ = await call(anchor, "raises", raises, {"how": "large"})
    assert reply.failure == "result-too-large"
    result = await stored_result(gateway, reply.job)
    assert result.failure is not None
    assert (result.failure.code, result.data) == ("result-too-large", None)


async def test_progress_keeps_its_order_and_survives_what_cannot_be_encoded(
    raises: str, anchor: Bus, gateway: Bus
) -> None:
    status = await stream_status(gateway, streams.PROGRESS)
    reply, _ = await call(anchor, "raises", raises, {"how": "events"})

    async def kept() -> bool:
        return (await stream_status(gateway, streams.PROGRESS)).state.last_seq - status.state.last_seq == 500

    await eventually(kept)
    last = await gateway.js.get_last_msg(streams.PROGRESS, subjects.progress(reply.job, raises))
    assert b'"number":499' in (last.data or b"")
    assert b'"n":499' in (last.data or b"")


async def test_a_job_that_cannot_be_cancelled_costs_the_worker(
    raises: str, anchor: Bus, announced: Announcements
) -> None:
    with pytest.raises(Refused) as refused:
        await call(anchor, "raises", raises, {"how": "stubborn"})
    assert refused.value.code == 504
    failed = await announced.next("failed", "raises", instance=raises)
    assert failed.reason == "a job could not be cancelled"
    replaced = await announced.next("ready", "raises", count=2)
    await call(anchor, "raises", replaced.instance)
