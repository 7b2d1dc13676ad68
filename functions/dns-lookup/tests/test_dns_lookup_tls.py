"""DNS over TLS against a tiny server on loopback, with certificates made here."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.message
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dns_lookup import measure, transports
from runtime.sdk import Blame, Code, Function
from runtime.sdk.testing import Bench

FUNCTION = Function.load(measure)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate with its key, for 127.0.0.1 and dns.example."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nano")])
    now = datetime.now(UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("dns.example")]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(made.public_bytes(encoding) + key.private_bytes(encoding, form, serialization.NoEncryption()))
    return path


@pytest.fixture
async def port(certificate: Path) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            response = dns.message.make_response(dns.message.from_wire(await reader.readexactly(length))).to_wire()
            writer.write(struct.pack("!H", len(response)) + response)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trusts the server's certificate, as an operator would."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    transports.tls_context.cache_clear()
    yield
    transports.tls_context.cache_clear()


async def ask(port: int, **params: Any) -> Any:
    job = {"name": "a.example", "server": "127.0.0.1", "port": port, "transport": "tls", "timeout_ms": 5000}
    return await Bench().run(FUNCTION, {**job, **params})


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("name", [None, "dns.example"])
async def test_a_trusted_server_answers_and_each_step_has_its_time(port: int, name: str | None) -> None:
    measured = await ask(port, tls_hostname=name)
    report = measured.data
    assert measured.failure is None
    assert (report.transport, report.rcode, report.tls_version) == ("tls", 0, "TLSv1.3")
    assert report.connect_ns > 0
    assert report.handshake_ns > 0
    assert report.query_ns > 0
    (attempt,) = report.attempts
    assert attempt.duration_ns >= report.connect_ns + report.handshake_ns + report.query_ns


async def test_a_certificate_that_is_not_trusted_is_a_failure_unless_that_is_wanted(port: int) -> None:
    measured = await ask(port)
    assert (measured.failure.code, measured.failure.blame) == (Code.TLS, Blame.TARGET)
    assert measured.failure.stage == "handshake"
    assert "not trusted" in measured.failure.detail
    (attempt,) = measured.data.attempts
    assert (attempt.outcome, attempt.handshake_ns, attempt.query_ns) == ("tls", None, None)
    assert attempt.connect_ns > 0
    assert (await ask(port, tls_verify=False)).failure is None


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_for_another_name_is_refused(port: int) -> None:
    measured = await ask(port, tls_hostname="other.example")
    assert measured.failure.code is Code.TLS
    assert "other.example" in measured.failure.detail


async def test_a_server_that_never_shakes_hands_is_a_timeout_in_that_step() -> None:
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    measured = await ask(server.sockets[0].getsockname()[1], timeout_ms=200, retries=0)
    assert (measured.failure.code, measured.failure.stage) == (Code.NAME_TIMEOUT, "handshake")
    for writer in held:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_a_server_that_speaks_no_tls_is_a_failure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Read first, or closing would reset the connection before the answer is read.
        await reader.read(65_536)
        writer.write(b"220 hello\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    measured = await ask(server.sockets[0].getsockname()[1])
    assert measured.failure.code is Code.TLS
    server.close()
    await server.wait_closed()
