"""Secrets planted in jobs and requests of a whole network are in no stream, no file of a service and no answer."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from contracts import bus, streams, subjects
from contracts.access.provision import PROVISIONER_ID
from tests.kit.network import RunningNetwork, finished
from tests.kit.secrets import NAMES, WAYS, traces

pytestmark = pytest.mark.timeout(120)
KEPT = [str(config.name) for config in streams.all_streams()]


async def stored(network: RunningNetwork, after: dict[str, int]) -> tuple[dict[str, int], bytes]:
    """Where every stream stands, and everything it keeps behind `after`."""
    told = network.stack()
    connection = await bus.connect(
        told["nats"]["url"],
        bus.FileCredentials(Path(told["credentials"]["provisioner"])),
        identity=PROVISIONER_ID,
        ca=bus.read_ca(Path(told["nats"]["ca"])),
        inbox=subjects.manage_inbox(PROVISIONER_ID),
    )
    last: dict[str, int] = {}
    found: list[bytes] = []
    for stream in KEPT:
        last[stream] = (await connection.js.stream_info(stream)).state.last_seq
        for sequence in range(after.get(stream, last[stream]) + 1, last[stream] + 1):
            subject = f"$JS.API.STREAM.MSG.GET.{stream}"
            message = json.loads((await connection.request(subject, b'{"seq":%d}' % sequence, within=5)).data)
            if "message" in message:
                found += [base64.b64decode(message["message"].get(part, "")) for part in ("data", "hdrs")]
    await connection.drain()
    return last, b"\n".join(found)


def test_a_secret_in_a_job_or_a_request_comes_out_nowhere(network: RunningNetwork) -> None:
    before, _ = asyncio.run(stored(network, {}))
    secrets = [f"s3cretN{number:02}planted" for number in range(len(WAYS) + len(NAMES) + 3)]
    plant = iter(secrets)
    api, told = network.api, []
    jobs = []
    for way in WAYS.values():
        params = {"text": f"before {way(next(plant))} after"}
        answer = api.post("/jobs", json={"function": "echo", "params": params})
        assert answer.status_code == 202, answer.text
        jobs.append(answer.json()["job"])
        told.append(answer.text)
    for name in NAMES:
        # Refused by the schema of the function, and the refusal may quote it.
        answer = api.post("/jobs", json={"function": "echo", "params": {"text": 1, name: next(plant)}})
        assert answer.status_code == 400, answer.text
        told.append(answer.text)
    shown = next(plant)
    told.append(api.post("/functions/echo/scale", json={"workers": f"password={shown}"}).text)
    for name, password in (("admin", next(plant)), (next(plant), "x")):
        refused = api.post("/auth/token", auth=(name, password))
        assert refused.status_code in {401, 429}
        told.append(refused.text)
    results = [finished(api, job) for job in jobs]
    assert all(result["failure"] is None for result in results)
    assert all("before" in result["data"]["text"] for result in results)
    told += [api.get(f"/jobs/{job}").text for job in jobs]
    told += [json.dumps(results), api.get("/results").text, api.get("/audit").text]
    told.append(network.mmn("jobs", "show", jobs[0]).out)

    _, kept = asyncio.run(stored(network, before))
    assert jobs[0].encode() in kept
    folders = [network.folder / name for name in ("logs", "gateway")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("index.sqlite") for path in files)
    places = {"answers": "\n".join(told).encode(), "streams": kept} | {str(path): path.read_bytes() for path in files}
    found = {
        (place, secret)
        for place, data in places.items()
        for secret in secrets
        if any(one in data for one in traces(secret))
    }
    assert not found
