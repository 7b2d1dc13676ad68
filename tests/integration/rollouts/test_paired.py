"""Paired mode: both versions run the same jobs, people get the old one's results, and the two are compared."""

import pytest
from nats.aio.msg import Msg

from contracts import codec, subjects
from contracts.access import roles
from contracts.bus import Bus
from contracts.jobs import twin_id_of
from contracts.modules import Health
from tests.kit.anchor import Client
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.rollouts import FAULTY, deployment, echo, ended, load, start_rollout

pytestmark = pytest.mark.timeout(300)

SILENT = """
from runtime.sdk import Code, Measured, failed

async def measure(params: EchoParams, ctx: Context) -> Measured[EchoReport]:
    return Measured(failure=failed(Code.TIMEOUT, "the target did not answer"), target="127.0.0.1")
"""


async def test_both_versions_run_the_same_jobs_and_people_get_the_old_ones_results(
    client: Client, gateway: Bus, server: NatsServer
) -> None:
    heard: list[Health] = []
    ears = await server.connect(roles.ANCHOR, "ears")

    async def hear(msg: Msg) -> None:
        heard.append(codec.decode(msg.data, Health))

    await ears.nc.subscribe(subjects.HEALTH, cb=hear)
    async with load(client, per_second=15.0) as jobs:
        rollout = await start_rollout(gateway, echo("1.1.0"), steps=[1.0], hold_s=2.0, paired=True)
        end = await ended(gateway, rollout)
        assert (end.what, end.version) == ("promoted", "1.1.0"), end
        new = await deployment(gateway)
    by_version = await jobs.none_failed()
    twins = {job: twin_id_of(job, new.digest) for job in jobs.jobs}
    made = {job: twin for job, twin in twins.items() if twin in client.events}
    assert len(made) >= 20
    for job, twin in made.items():
        result, accepted = await client.result(twin), client.events[twin][0].accepted
        assert (result.version, result.failure) == ("1.1.0", None)
        assert accepted is not None
        assert (accepted.client, accepted.pair) == ("rollout:echo", job)
    assert by_version["1.0.0"] >= 20
    pairs = [one.pairs for health in heard for one in health.rollouts if one.rollout == rollout]
    assert pairs[-1].seen == pairs[-1].alike > 0
    await client.drained(within=30.0)


async def test_a_version_that_fails_to_measure_what_the_old_one_measures_is_rolled_back(
    client: Client, gateway: Bus
) -> None:
    async with load(client, per_second=15.0) as jobs:
        wheel = echo("1.1.0", extra=SILENT)
        rollout = await start_rollout(gateway, wheel, steps=[1.0], hold_s=60.0, paired=True)
        end = await ended(gateway, rollout)
    assert end.what == "rolled-back"
    assert "failed on the new one alone (timeout), 0 on the old one alone" in end.reason
    assert set(await jobs.none_failed()) == {"1.0.0"}


async def test_twins_end_when_their_version_is_gone(client: Client, gateway: Bus) -> None:
    async with load(client, per_second=15.0) as jobs:
        wheel = echo("1.1.0", extra=FAULTY)
        rollout = await start_rollout(gateway, wheel, steps=[1.0], hold_s=60.0, paired=True)
        end = await ended(gateway, rollout)
    assert end.what == "rolled-back"
    assert "calls ended with a fault (ValueError: no)" in end.reason
    assert set(await jobs.none_failed()) == {"1.0.0"}
    await client.drained(within=30.0)
    digest = (await deployment(gateway)).versions["1.1.0"]
    twins = [twin_id_of(job, digest) for job in jobs.jobs]
    made = [twin for twin in twins if twin in client.events]
    assert made
    await eventually(lambda: all(twin in client.results for twin in made), within=15.0)
    codes = {failure.code.value for twin in made if (failure := client.results[twin][0].failure) is not None}
    assert codes <= {"worker-fault", "function-gone", "worker-lost"}
