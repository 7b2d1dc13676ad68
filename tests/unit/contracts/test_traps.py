"""What nats-py offers and we must not call, each with the reason. Everything else about it is tested on a server."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ("contracts", "runtime", "anchor", "gateway")
BUS = "contracts/bus.py"

TRAPS = {
    "publish_async": "its future waits for ever when the ack is lost: js.publish has a time limit",
    "pull_subscribe": "its fetch leaves orphaned requests and stalls after restarts: contracts.pull",
    "fetch": "see pull_subscribe",
    "watch": "watches do not come back by themselves: contracts.tail",
    "watchall": "see watch",
    "request": "its wait_for may swallow a cancellation that meets the answer: Bus.request",
    "subscribe": "with the library's limits half a million messages wait unseen: Bus.subscribe",
    "force_reconnect": "loses what is in flight; a new token is used at the next connection by itself",
}


def calls(source: str) -> Iterator[tuple[str, int]]:
    """Every call of a trap on a client or what it gave: `….nc.x(…)`, `….js.x(…)`, `bucket.watch(…)`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TRAPS:
            owner = ast.unparse(node.func.value)
            if node.func.attr not in {"subscribe", "request"} or owner.endswith(("nc", "js", "client")):
                yield node.func.attr, node.lineno


@pytest.mark.parametrize("folder", SHIPPED)
def test_no_trap_of_the_library_is_called(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} calls {name}: {TRAPS[name]}"
        for path in (ROOT / folder).rglob("*.py")
        if path.relative_to(ROOT).as_posix() != BUS and "node_modules" not in path.parts
        for name, line in calls(path.read_text())
    ]
    assert not found


@pytest.mark.parametrize(
    ("line", "trap"),
    [
        ("await bus.js.publish_async('x', b'')", True),
        ("await self._bus.nc.subscribe('x', cb=take)", True),
        ("await nc.subscribe('x')", True),
        ("await self._bus.nc.request('x', b'')", True),
        ("await self._bus.request('x', b'', within=1)", False),
        ("await js.pull_subscribe('x')", True),
        ("async for x in await bucket.watchall(): ...", True),
        ("await self._bus.subscribe('x', take)", False),
        ("await self._bus.js.publish('x', b'')", False),
        ("message.subscribe()", False),
    ],
)
def test_the_rule_catches_what_it_must(line: str, *, trap: bool) -> None:
    source = f"async def f():\n    {line}\n"
    assert bool(list(calls(source))) == trap
