"""Who takes the steps of a rollout: any Anchor, and people."""

import asyncio

import pytest

from contracts import clock
from contracts.bus import Bus
from contracts.functions import Deployment
from contracts.rollouts import roll_back
from tests.kit.anchor import AnchorProcess, Client
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.rollouts import FAULTY, change, deployment, echo, ended, load, start_rollout

pytestmark = pytest.mark.timeout(300)


async def weighed(gateway: Bus, at_least: float) -> None:
    """Wait until the version on its way has a share."""

    async def has() -> bool:
        rollout = (await deployment(gateway)).rollout
        return rollout is not None and rollout.weight >= at_least

    await eventually(has, within=30.0)


def versions(client: Client) -> set[str | None]:
    """Versions that have run a job."""
    return {results[0].version for results in client.results.values()}


@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
async def test_an_anchor_that_dies_in_the_middle_changes_nothing(
    broken: bool, client: Client, gateway: Bus, server: NatsServer, anchor: AnchorProcess
) -> None:
    second = AnchorProcess(server, "anchor2")
    await second.start()
    try:
        async with load(client, per_second=20.0, patient=True) as jobs:
            hold = {"steps": [0.05, 0.5], "hold_s": 3.0} if not broken else {"steps": [0.05], "hold_s": 60.0}
            wheel = echo("1.1.0", extra=FAULTY if broken else "")
            rollout = await start_rollout(gateway, wheel, **hold)  # type: ignore[arg-type]  # one dict of both
            await weighed(gateway, 0.05)
            await anchor.kill()
            end = await ended(gateway, rollout)
        assert (end.what, end.by) == ("rolled-back" if broken else "promoted", "anchor2"), end
        await jobs.none_failed()
    finally:
        await second.close()


async def test_two_anchors_write_each_step_once(client: Client, gateway: Bus, server: NatsServer) -> None:
    assert client is not None
    second = AnchorProcess(server, "anchor2")
    await second.start()
    try:
        rollout = await start_rollout(gateway, echo("1.1.0"), steps=[0.1, 0.2, 0.3], hold_s=0.3)
        assert (await ended(gateway, rollout)).what == "promoted"
    finally:
        await second.close()
    steps = [step for step in (await deployment(gateway)).history if step.rollout == rollout]
    assert [step.what for step in steps] == ["started", "weight", "weight", "weight", "promoted"]


async def test_a_newer_version_supersedes_the_one_on_its_way(client: Client, gateway: Bus) -> None:
    async with load(client, per_second=20.0) as jobs:
        first = await start_rollout(gateway, echo("1.1.0"), steps=[0.5], hold_s=600.0)
        await weighed(gateway, 0.5)
        await eventually(lambda: "1.1.0" in versions(client), within=30.0)
        second = await start_rollout(gateway, echo("1.2.0"))
        assert (await ended(gateway, first)).what == "superseded"
        assert (await ended(gateway, second)).what == "promoted"
    assert set(await jobs.none_failed()) == {"1.0.0", "1.1.0", "1.2.0"}
    assert (await deployment(gateway)).version == "1.2.0"


async def test_people_can_end_a_rollout_at_any_step(client: Client, gateway: Bus) -> None:
    async with load(client, per_second=20.0) as jobs:
        rollout = await start_rollout(gateway, echo("1.1.0"), steps=[0.5], hold_s=600.0)
        await weighed(gateway, 0.5)
        await eventually(lambda: "1.1.0" in versions(client), within=30.0)
        back: Deployment = await change(
            gateway, lambda held: roll_back(held, at=clock.utc_now(), by="admin", reason="by request")
        )
        assert (await ended(gateway, rollout)).by == "admin"
        assert back.rollout is None
        await asyncio.sleep(1.0)  # what was called before is over
        seen = len(jobs.jobs)
        await asyncio.sleep(1.0)  # jobs of the old version alone
    results = await jobs.results()
    assert {result.version for result in results[seen:]} == {"1.0.0"}
    assert not [result for result in results if result.failure is not None]
