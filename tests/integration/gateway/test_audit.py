"""The audit log on a real server: what one gateway keeps the other shows, and nobody takes it out."""

import asyncio
from pathlib import Path

from contracts import streams
from contracts.access import roles
from gateway.index import Index
from gateway.ledger import AuditWish
from gateway.network import Network
from gateway.security.audit import Audit, Note
from tests.kit.eventually import eventually
from tests.kit.nats_server import nats_server


async def test_an_entry_of_one_gateway_is_shown_by_the_other_and_stays(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as server:
        one, other = [await server.connect(roles.GATEWAY, name) for name in ("gateway1", "gateway2")]
        provisioner = await server.connect(roles.PROVISIONER, "provisioner")
        index = Index(None)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(index.run(Network(other)))
            await Audit(Network(one), "gateway1").record("change", "scale", status=200, told=Note(user="ada"))

            async def shown() -> list[str | None]:
                return [entry.user for entry in (await index.audit(AuditWish())).entries]

            await eventually(shown, within=10)
            assert await shown() == ["ada"]
            for verb, body in (("PURGE", b""), ("MSG.DELETE", b'{"seq":1}')):
                told = await provisioner.request(f"$JS.API.STREAM.{verb}.{streams.AUDIT}", body, within=5)
                assert b'"error"' in told.data, told.data
            # A gateway speaks for itself only; the server drops what it sends in another's name.
            assert not one.denied
            await one.nc.publish("mmn.audit.gateway2.change", b"{}")
            await one.flush()
            assert one.denied
            assert (await provisioner.js.stream_info(streams.AUDIT)).state.messages == 1
            following.cancel()
        await index.close()
        for connection in (one, other, provisioner):
            await connection.drain()
