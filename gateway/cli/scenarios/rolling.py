"""A version is replaced under load; then broken ones come, and each is rolled back by itself."""

from __future__ import annotations

import asyncio
from collections import Counter

from gateway.cli import rollout
from gateway.cli.scenarios import bundles
from gateway.cli.scenarios.load import Load
from gateway.cli.scenarios.stage import Stage
from gateway.cli.scenarios.story import Story

FUNCTION, FIRST, GOOD = "rolled", "1.0.0", "1.1.0"
BROKEN = (
    ("crashes at import", "1.2.0", bundles.CRASHES_AT_IMPORT, ""),
    ("fails its self-test", "1.3.0", "", bundles.FAILS_SELF_TEST),
    ("answers faults", "1.4.0", "", bundles.FAULTS),
)
_NAP_MS = 20
_RATE = 40.0
_WITHIN_S = 60.0


async def play(stage: Stage) -> None:
    """One good replacement, three broken ones."""
    hold = 10.0 if stage.long else 1.0
    await stage.deploy(bundles.nap(FUNCTION, FIRST, ms=_NAP_MS))
    load = Load(stage.desk, FUNCTION, {"ms": _NAP_MS})
    async with load.steady(_RATE):
        stage.step(f"{_RATE:g} jobs/s of `{FUNCTION}` {FIRST}")
        await asyncio.sleep(2.0)
        ending, took = await _rolled_out(stage, bundles.nap(FUNCTION, GOOD, ms=_NAP_MS), GOOD, hold)
        stage.check(f"{GOOD} takes over", ending.promoted, "exactly", 1, note=str(ending.step["reason"]))
        stage.show(f"{GOOD}: upload to the end", took, "s", note=f"steps 20 %, 50 % of at least {hold:g} s")
        for fault, version, at_import, in_measure in BROKEN:
            wheel = bundles.nap(FUNCTION, version, ms=_NAP_MS, at_import=at_import, in_measure=in_measure)
            ending, took = await _rolled_out(stage, wheel, version, hold)
            back = ending.step["what"] == "rolled-back" and ending.deployment["version"] == GOOD
            stage.check(f"{version} {fault}: rolled back", back, "exactly", 1)
            told = "broken on purpose" in ending.step["reason"]
            stage.check(f"{version} {fault}: the reason is shown", told, "exactly", 1, note=str(ending.step["reason"]))
            stage.show(f"{version} {fault}: upload to the end", took, "s")
        await asyncio.sleep(1.0)
    await stage.check_every_job(load)
    stage.check(f"{FUNCTION}: jobs that failed", load.failed, "exactly", 0)
    versions = Counter(order.result.version for order in load.orders if order.served and order.result is not None)
    stage.check(f"jobs measured by {GOOD}", versions[GOOD], "at least", 1, note=_shares(versions))
    unsound = sum(count for version, count in versions.items() if version not in {FIRST, GOOD})
    stage.check("jobs measured by a broken version", unsound, "exactly", 0)


async def _rolled_out(stage: Stage, wheel: bytes, version: str, hold: float) -> tuple[rollout.Ending, float]:
    """Upload a version and follow it to its end. Returns that, and the seconds it took."""
    lane, last = f"{FUNCTION} {version}", ""

    def show(text: str) -> None:
        nonlocal last
        # What was counted changes all the time; the share is what a timeline shows.
        now = text.partition(";")[0].partition(": ")[2]
        if now != last:
            last = now
            stage.timeline.mark(lane, "note", now)

    stage.step(f"uploading `{FUNCTION}` {version}")
    began = stage.timeline.mark(lane, "upload")
    deployment = await stage.upload(wheel, way=[("steps", "0.2"), ("steps", "0.5"), ("hold", str(hold))])
    ending = await rollout.until_over(stage.client, deployment, within=_WITHIN_S, show=show)
    ended = stage.timeline.mark(lane, "ready" if ending.promoted else "gone", str(ending.step["what"]))
    stage.step(f"{version}: {ending.step['what']}: {ending.step['reason']}")
    return ending, ended - began


def _shares(versions: Counter[str | None]) -> str:
    return ", ".join(f"{count} by {version}" for version, count in sorted(versions.items(), key=str))


STORY = Story(
    name="rolling",
    summary="A version is replaced under load; broken ones are rolled back with the reason, and no job fails.",
    play=play,
    nodes=2,
    anchors=2,
)
