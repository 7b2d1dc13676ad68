"""`python -m gateway.cli.alive`: the health checks of containers, in a few milliseconds and without credentials.

    alive nats 4222         a server with JetStream answers on this port
    alive gateway 8080      the gateway says that it is ready
    alive connected 4222    some process of this container is connected to NATS, which has this port

What these do not see, the network's own health does: it asks each service by name. Nothing of ours is
imported, since this runs again and again beside what it looks at.
"""

from __future__ import annotations

import json
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_HOST = "127.0.0.1"
_WITHIN_S = 2.0
_ESTABLISHED = "01"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def nats(port: int) -> str:
    """What is wrong with the server, or nothing. It greets every client by a line about itself."""
    with socket.create_connection((_HOST, port), timeout=_WITHIN_S) as connection, connection.makefile("rb") as lines:
        verb, _, about = lines.readline().partition(b" ")
    return "" if verb == b"INFO" and json.loads(about).get("jetstream") else "no JetStream"


def gateway(port: int) -> str:
    """What is wrong with the gateway, or nothing."""
    with urllib.request.urlopen(f"http://{_HOST}:{port}/api/v1/status", timeout=_WITHIN_S) as answer:
        return "" if json.load(answer).get("ready") else "not ready"


def connected(port: int) -> str:
    """Whether no connection to NATS is open."""
    tables = (table.read_text().splitlines() for table in _TABLES if table.exists())
    return "" if any(has_connection(lines, port) for lines in tables) else "no connection to NATS"


def has_connection(table: Iterable[str], port: int) -> bool:
    """Say whether the kernel's table of TCP sockets lists an open one to this port, at whatever address."""
    rows = (line.split() for line in table)
    return any(row[2].endswith(f":{port:04X}") and row[3] == _ESTABLISHED for row in rows if len(row) > 3)


CHECKS: Mapping[str, Callable[[int], str]] = {"nats": nats, "gateway": gateway, "connected": connected}


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 when all is well, else 1 and one line that says what is not."""
    what, port = arguments
    try:
        wrong = CHECKS[what](int(port))
    except (OSError, ValueError) as error:
        wrong = str(error)
    if wrong:
        print(f"{what}: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
