"""A relay between clients and a server that can freeze: what it holds then stays open and is never read again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Relay:
    """Passes bytes on in both directions. `url` is where clients connect."""

    def __init__(self, target: str) -> None:
        self._host, self._port = urlsplit(target).hostname, urlsplit(target).port
        self.scheme = urlsplit(target).scheme
        self._passing: set[asyncio.Task[None]] = set()
        self._held: list[asyncio.StreamWriter] = []
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        there, back = await asyncio.open_connection(self._host, self._port)
        self._held += [writer, back]
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.get_running_loop().create_task(_pass_on(source, target))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    def freeze(self) -> None:
        """Stop reading and passing on what comes over the connections of now. Later ones are not concerned."""
        for task in self._passing:
            task.cancel()
        for writer in self._held:
            if isinstance(writer.transport, asyncio.ReadTransport) and writer.transport.is_reading():
                writer.transport.pause_reading()

    def close(self) -> None:
        """End every connection."""
        self.freeze()
        for writer in self._held:
            writer.transport.abort()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        return
    target.close()


@asynccontextmanager
async def relay(target: str) -> AsyncIterator[Relay]:
    """A relay in front of a NATS server's URL, gone afterwards."""
    running = Relay(target)
    server = await asyncio.start_server(running.accept, "127.0.0.1", 0)
    running.url = f"{running.scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.close()
        running.close()
