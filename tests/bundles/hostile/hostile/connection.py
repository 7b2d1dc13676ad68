"""Attempts over the worker's own connection to NATS, which it has dug out of the memory of its process."""

import gc
from collections.abc import Awaitable, Callable
from typing import Any

from contracts import subjects
from contracts.bus import Bus


async def over_the_bus(node: str, sibling: str) -> dict[str, str]:
    """Speak for others, and listen to what is not for it."""
    bus = next(found for found in gc.get_objects() if isinstance(found, Bus))
    nc = bus.nc

    def publish(subject: str) -> Callable[[], Awaitable[Any]]:
        return lambda: nc.publish(subject, b"{}")

    def subscribe(subject: str) -> Callable[[], Awaitable[Any]]:
        return lambda: nc.subscribe(subject)

    tries = {
        "NATS: announce for its node": publish(subjects.announce(node)),
        "NATS: health of a sibling": publish(subjects.health(sibling)),
        "NATS: lines of a sibling": publish(subjects.logs(sibling)),
        "NATS: call a sibling": publish(subjects.call("hostile", sibling)),
        "NATS: a result of a sibling": publish(subjects.out("0" * 26, sibling)),
        "NATS: submit a job": publish(subjects.SUBMIT),
        "NATS: drain its node": publish(subjects.node_control(node, "drain")),
        "NATS: list streams": publish("$JS.API.STREAM.LIST"),
        "NATS: hear everything": subscribe(">"),
        "NATS: hear all inboxes": subscribe("_INBOX.>"),
        "NATS: hear calls of a sibling": subscribe(subjects.call("hostile", sibling)),
        "NATS: hear all results": subscribe(subjects.OUTS),
    }
    outcomes: dict[str, str] = {}
    for name, attempt in tries.items():
        before = len(bus.denied)
        await attempt()
        await bus.flush()
        outcomes[name] = "denied" if len(bus.denied) > before else "open"
    return outcomes
