"""An external module in plain nats-py, without a line of mmn: it counts words. Run it with the folder of its join.

    python tests/kit/external_module.py lab1

It follows contracts/spec: a micro service with one endpoint, schemas in its metadata, a heartbeat, one result a job.
"""

import asyncio
import json
import ssl
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it has no types
import nats
from nats.errors import Error
from nats.js.errors import APIError
from nats.micro.request import Request
from nats.micro.service import Service, ServiceConfig

VERSION = "0.3.1"
PARAMS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
RESULT = {"type": "object", "properties": {"words": {"type": "integer"}}, "required": ["words"]}


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def main(folder: Path) -> None:
    told = json.loads((folder / "membership.json").read_text())
    instance, function = told["instance"], told["function"]
    trust = ssl.create_default_context(cafile=str(folder / "ca.crt")) if told["nats_ca"] else None
    nc = await nats.connect(
        told["nats_url"],
        tls=trust,
        tls_handshake_first=trust is not None,
        user_credentials=str(folder / "nats.creds"),
        # The only inboxes that it may read.
        inbox_prefix=f"_INBOX_{instance}",
    )
    js = nc.jetstream()
    done = 0

    async def call(request: Request) -> None:
        nonlocal done
        began = time.monotonic_ns()
        packed = (request.headers or {}).get("Content-Type") == "application/msgpack"
        job: dict[str, Any] = msgpack.unpackb(request.data) if packed else json.loads(request.data or b"{}")
        if "job" not in job:
            # The question whether calls arrive here.
            await request.respond(json.dumps({"job": "", "instance": instance}).encode())
            return
        result = {
            "job": job["job"],
            "function": function,
            "by": instance,
            "node": told["name"],
            "version": VERSION,
            "started": now(),
            "duration_ns": time.monotonic_ns() - began,
            "params": job["params"],
            "accepted": job.get("accepted"),
            "data": {"words": len(job["params"]["text"].split())},
        }
        # The first result of a job counts, whoever sends it.
        once = {
            "Nats-Expected-Last-Subject-Sequence": "0",
            "Nats-Expected-Last-Subject-Sequence-Subject": f"mmn.out.{job['job']}.*",
        }
        sequence = None
        with suppress(APIError):
            stored = await js.publish(f"mmn.out.{job['job']}.{instance}", json.dumps(result).encode(), headers=once)
            sequence = stored.seq
        done += 1
        answer = {"job": job["job"], "instance": instance, "sequence": sequence}
        await request.respond(json.dumps(answer).encode())

    config = ServiceConfig(
        name=function,
        version=VERSION,
        description="count the words of a text",
        metadata={"node": told["name"], "labels": "{}", "limits": '{"concurrency": 1}'},
        stats_handler=lambda _: {},
    )
    service = Service(nc, config)
    # The library draws an id; the subjects of the token name this one.
    service._id = instance
    await service.start()
    schemas = {"params_schema": json.dumps(PARAMS), "result_schema": json.dumps(RESULT)}
    subject = f"mmn.fn.{function}.{instance}"
    await service.add_endpoint(name="call", subject=subject, handler=call, metadata=schemas)
    while not nc.is_closed:
        beat = {"instance": instance, "kind": "worker", "state": "up", "at": now(), "node": told["name"]}
        beat |= {"function": function, "version": VERSION, "limit": 1, "done": done}
        with suppress(Error):
            await nc.publish(f"mmn.modules.health.{instance}", json.dumps(beat).encode())
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
