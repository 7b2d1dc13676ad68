"""A version is replaced under load: a sound one takes over, a broken one is rolled back, no job fails."""

import asyncio

import pytest

from contracts.bus import Bus
from tests.kit.anchor import Client
from tests.kit.eventually import eventually
from tests.kit.node import Announcements
from tests.kit.rollouts import FAULTY, deployment, echo, ended, load, measuring, start_rollout

pytestmark = pytest.mark.timeout(300)


async def test_a_sound_version_takes_over_step_by_step_and_no_job_fails(
    client: Client, gateway: Bus, announced: Announcements
) -> None:
    async with load(client, per_second=30.0) as jobs:
        rollout = await start_rollout(gateway, echo("1.1.0"))
        end = await ended(gateway, rollout)
        assert (end.what, end.version) == ("promoted", "1.1.0"), end.reason
        await announced.next("stopped", "echo", count=2, version="1.0.0")
        await asyncio.sleep(0.5)  # the new version alone, for a while
    by_version = await jobs.none_failed()
    assert by_version["1.0.0"] > 0
    assert by_version["1.1.0"] > 0
    held = await deployment(gateway)
    assert (held.version, held.previous, held.rollout) == ("1.1.0", "1.0.0", None)
    assert [step.weight for step in held.history if step.what == "weight"] == [0.2, 0.5]
    events = [(one.event, one.version, one.node) for one in announced.all]
    for node in ("n1", "n2"):
        assert events.index(("ready", "1.1.0", node)) < events.index(("draining", "1.0.0", node))


BROKEN = {
    "crashes at import": ("\nraise RuntimeError('broken on purpose')\n", "cannot be loaded: RuntimeError"),
    "fails its self-test": (measuring("raise ValueError('of no use')"), "self-test: ValueError: of no use"),
    "answers every call with a fault": (FAULTY, "calls ended with a fault (ValueError: no)"),
    "ends its process at every call": (
        measuring(
            "if ctx.job == 'self-test':\n        return EchoReport(text='', waited_ns=0)\n    import os; os._exit(3)"
        ),
        "",
    ),
    "refuses what the old version takes": (
        measuring(
            "if ctx.job == 'self-test':\n        return EchoReport(text='', waited_ns=0)\n"
            "    from runtime.sdk import InvalidField; raise InvalidField('params.text', 'is wrong')"
        ),
        "params.text: is wrong",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_version_is_rolled_back_by_itself_and_no_job_fails(
    kind: str, client: Client, gateway: Bus, announced: Announcements
) -> None:
    code, told = BROKEN[kind]
    async with load(client, per_second=30.0) as jobs:
        rollout = await start_rollout(gateway, echo("1.1.0", extra=code))
        end = await ended(gateway, rollout)
        assert (end.what, end.version, end.by) == ("rolled-back", "1.1.0", "anchor1"), end
        assert told in end.reason
    assert set(await jobs.none_failed()) == {"1.0.0"}
    held = await deployment(gateway)
    assert (held.version, held.rollout) == ("1.0.0", None)

    def only_old_workers() -> bool:
        last = {one.instance: one for one in announced.all}
        return {one.version for one in last.values() if one.event in {"started", "ready"}} == {"1.0.0"}

    await eventually(only_old_workers, within=30.0)


async def test_a_version_whose_calls_wait_longer_is_rolled_back(client: Client, gateway: Bus) -> None:
    # Its loop stands still while it works, so what is called meanwhile waits.
    slow = measuring("import time; time.sleep(0.35); return EchoReport(text='', waited_ns=0)")
    async with load(client, per_second=50.0) as jobs, load(client, per_second=50.0) as more:
        rollout = await start_rollout(gateway, echo("1.1.0", extra=slow, concurrency=2), steps=[0.9], hold_s=10.0)
        end = await ended(gateway, rollout)
    assert end.what == "rolled-back", end
    assert end.reason.startswith("calls wait longer"), end
    for one in (jobs, more):
        await one.none_failed()


async def test_without_jobs_a_version_is_promoted_after_its_holds(client: Client, gateway: Bus) -> None:
    assert client is not None
    rollout = await start_rollout(gateway, echo("1.1.0"), steps=[0.5], hold_s=0.5)
    assert (await ended(gateway, rollout)).what == "promoted"
