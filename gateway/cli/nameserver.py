"""A tiny real name server on loopback, so that the demo has something to look up without the Internet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

ZONE = "demo.mmn.test."
"""The one name it knows; `.test` never exists in the real tree (RFC 6761)."""
_TTL_S = 60
_RECORDS = {
    dns.rdatatype.A: "127.0.0.1",
    dns.rdatatype.AAAA: "::1",
    dns.rdatatype.TXT: '"a measurement network"',
}


def answer(query: bytes) -> bytes | None:
    """The reply to one query datagram; None for what is no query (RFC 1035)."""
    try:
        asked = dns.message.from_wire(query)
        reply = dns.message.make_response(asked)
        (question,) = asked.question
    except (dns.exception.DNSException, ValueError):
        return None
    reply.flags |= dns.flags.AA
    if question.name.to_text().lower() != ZONE:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif (record := _RECORDS.get(question.rdtype)) is not None:
        reply.answer.append(dns.rrset.from_text(ZONE, _TTL_S, "IN", dns.rdatatype.to_text(question.rdtype), record))
    return reply.to_wire()


class _Server(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own transport of Python 3.11 does not say that it is one.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        reply = answer(data)
        if reply is not None:
            self._transport.sendto(reply, addr)


@asynccontextmanager
async def nameserver() -> AsyncGenerator[int]:
    """Answer on a free UDP port of 127.0.0.1, which is given."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_Server, local_addr=("127.0.0.1", 0))
    try:
        yield int(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()
