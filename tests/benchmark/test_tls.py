"""What TLS 1.3 costs on the way to NATS: one server with it, one without, asked in turns."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from contracts import bus, clock, subjects
from contracts.access import roles
from tests.kit.nats_server import NatsServer, nats_server

Report = Callable[[dict[str, Any]], None]
PAIRS = 10
ASKED = 1500
CONNECTS = 20


async def rate(server: NatsServer) -> float:
    """Requests a second, one at a time, from an Anchor to a gateway's inbox and back."""
    asking, answering = await server.connect(roles.ANCHOR, "asks"), await server.connect(roles.GATEWAY, "answers")
    here = f"{subjects.manage_inbox('answers')}.x"

    async def answer(msg: Msg) -> None:
        await answering.nc.publish(msg.reply, msg.data)

    await answering.nc.subscribe(here, cb=answer)
    await answering.settle()
    data = b"x" * 256
    began = clock.monotonic_ns()
    for _ in range(ASKED):
        await asking.request(here, data, within=5)
    took = (clock.monotonic_ns() - began) / 1e9
    for connection in (asking, answering):
        await connection.drain()
    return ASKED / took


async def connect_ms(server: NatsServer) -> float:
    """The median time of a first connection."""
    credentials = bus.FileCredentials(server.files.credentials(roles.GATEWAY, "gateway1"))
    took: list[float] = []
    for _ in range(CONNECTS):
        began = clock.monotonic_ns()
        connection = await bus.connect(
            server.url,
            credentials,
            identity="gateway1",
            inbox=subjects.manage_inbox("gateway1"),
            ca=bus.read_ca(server.ca),
        )
        took.append((clock.monotonic_ns() - began) / 1e6)
        await connection.drain()
    return statistics.median(took)


async def test_the_cost_of_tls(tmp_path: Path, report: Report) -> None:
    async with nats_server(tmp_path / "plain") as plain, nats_server(tmp_path / "tls", tls=True) as secured:
        ratios: list[float] = []
        for _ in range(PAIRS):
            without, with_tls = await rate(plain), await rate(secured)
            ratios.append(with_tls / without)
        report(
            {
                "pairs": PAIRS,
                "requests each": ASKED,
                "rate with TLS / without, median": round(statistics.median(ratios), 3),
                "rate with TLS / without, spread": [round(min(ratios), 3), round(max(ratios), 3)],
                "first connection without, ms, median": round(await connect_ms(plain), 2),
                "first connection with TLS, ms, median": round(await connect_ms(secured), 2),
            }
        )
