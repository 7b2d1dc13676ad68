"""`python -m runtime`: run one node until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from contracts import logs, process
from runtime.agent import serve
from runtime.settings import load


def main() -> int:
    """Exit status: 0 after an orderly stop, 1 when the node cannot work."""

    async def start() -> None:
        settings = load()
        await serve(settings, logs.configure(settings.node, level=settings.log_level))

    return process.run("runtime", start)


if __name__ == "__main__":
    sys.exit(main())
