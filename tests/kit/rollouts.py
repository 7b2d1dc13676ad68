"""Versions replaced under load: uploads as a gateway makes them, jobs all the while, and what became of both."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import nats.errors
import nkeys
from msgspec.structs import replace
from nats.js.errors import KeyWrongLastSequenceError

from contracts import clock, codec, streams
from contracts.bundles import inspect_wheel
from contracts.bus import Bus
from contracts.errors import Refused
from contracts.functions import Deployment, RolloutStep, Strategy
from contracts.results import Result
from contracts.rollouts import Version, begin
from tests.kit.anchor import Client
from tests.kit.authors import AUTHOR, uploaded
from tests.kit.eventually import eventually
from tests.kit.wheels import FUNCTIONS, MANIFEST, build_wheel, wheel_of

ECHO = FUNCTIONS / "echo"


def measuring(body: str) -> str:
    """Code that replaces what echo does by this body of `measure`."""
    return f"\nasync def measure(params: EchoParams, ctx: Context) -> EchoReport:\n    {body}\n"


FAULTY = measuring(
    "if ctx.job == 'self-test':\n        return EchoReport(text='', waited_ns=0)\n    raise ValueError('no')"
)
"""Code that passes its self-test and answers every call with a fault."""

ENDS = {"promoted", "rolled-back", "superseded"}


def echo(version: str, *, extra: str = "", concurrency: int | None = None) -> bytes:
    """The wheel of a version of echo, with code that is appended to it, or another number of jobs at once."""
    if concurrency is None:
        return wheel_of(ECHO, version=version, extra=extra)
    code = (ECHO / "echo" / "__init__.py").read_text() + extra
    return build_wheel("echo", version, code=code, manifest=f"{MANIFEST}[limits]\nconcurrency = {concurrency}\n")


async def deployment(gateway: Bus, function: str = "echo") -> Deployment:
    """The deployment as it is stored now."""
    bucket = await gateway.js.key_value(streams.BUCKET_FUNCTIONS)
    return codec.decode((await bucket.get(function)).value or b"", Deployment)


async def store(gateway: Bus, wheel: bytes) -> Version:
    """Put a wheel into the bundle store, as an upload does."""
    info = inspect_wheel(wheel)
    bundles = await gateway.js.object_store(streams.OBJECTS_BUNDLES)
    await bundles.put(info.digest, wheel)
    return Version(version=info.version, digest=info.digest, manifest=info.manifest, size=info.size)


async def change(gateway: Bus, to: Callable[[Deployment], Deployment]) -> Deployment:
    """Replace the deployment of echo by what `to` makes of it, as often as others come between."""
    bucket = await gateway.js.key_value(streams.BUCKET_FUNCTIONS)
    while True:
        entry = await bucket.get("echo")
        after = to(codec.decode(entry.value or b"", Deployment))
        try:
            await bucket.update("echo", codec.encode(after, codec.JSON), last=entry.revision)
        except KeyWrongLastSequenceError:
            continue
        return after


async def start_rollout(
    gateway: Bus,
    wheel: bytes,
    *,
    steps: Sequence[float] = (0.2, 0.5),
    by: nkeys.KeyPair = AUTHOR,
    **strategy: Any,
) -> str:
    """Set a new version of echo on its way. Returns the rollout's id."""
    new = await store(gateway, wheel)
    asked = Strategy(steps=list(steps), **strategy)

    def begun(before: Deployment) -> Deployment:
        known = {**before.versions, before.version: before.digest, new.version: new.digest}
        signed = {**before.uploads, **uploaded(new.digest, by)}
        return begin(replace(before, versions=known, uploads=signed), new, asked, at=clock.utc_now(), by="tester")

    after = await change(gateway, begun)
    assert after.rollout is not None
    return after.rollout.id


async def ended(gateway: Bus, rollout: str, *, within: float = 90.0) -> RolloutStep:
    """Wait for the end of a rollout, and tell it."""

    async def end() -> RolloutStep | None:
        steps = [step for step in (await deployment(gateway)).history if step.rollout == rollout]
        return next((step for step in steps if step.what in ENDS), None)

    found = await eventually(end, within=within, every=0.1)
    assert found is not None
    return found


class Load:
    """Jobs of echo, one after another at a steady rate."""

    def __init__(self, client: Client, per_second: float, *, patient: bool, **request: Any) -> None:
        self._client = client
        self._pause = 1 / per_second
        self._patient = patient
        self._request = {"function": "echo", "params": {"delay_ms": 5}, **request}
        self.jobs: list[str] = []

    async def run(self) -> None:
        """Submit until cancelled. No submission may be refused."""
        while True:
            # With a key a request can be repeated when the Anchor that has it is killed.
            key = {"key": secrets.token_hex(8)} if self._patient else {}
            try:
                self.jobs.append(await self._submit(key))
            except Refused as refusal:
                raise AssertionError(f"refused: {refusal.message}") from refusal
            await asyncio.sleep(self._pause)

    async def _submit(self, key: dict[str, str]) -> str:
        while True:
            try:
                return (await self._client.submit(**self._request, **key)).job
            except nats.errors.TimeoutError:
                if not self._patient:
                    raise

    async def results(self) -> list[Result]:
        """The results of all jobs, each exactly one."""
        return [await self._client.result(job, within=60.0) for job in self.jobs]

    async def none_failed(self) -> Counter[str | None]:
        """Assert that every job was measured. Returns how many by version."""
        results = await self.results()
        failed = [result for result in results if result.failure is not None]
        assert not failed, f"{len(failed)} of {len(results)} jobs failed; the first: {failed[0].failure}"
        return Counter(result.version for result in results)


@asynccontextmanager
async def load(
    client: Client, *, per_second: float = 20.0, patient: bool = False, **request: Any
) -> AsyncIterator[Load]:
    """Jobs for as long as the block runs; `patient`: submitted again when nobody answers."""
    jobs = Load(client, per_second, patient=patient, **request)
    task = asyncio.create_task(jobs.run())
    try:
        yield jobs
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
