"""Requests over TLS to a tiny server on loopback, with certificates made here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from http_probe import certificates, connection, measure
from runtime.sdk import Blame, CannotMeasure, Code, Function
from runtime.sdk.testing import Bench

FUNCTION = Function.load(measure)


def make_certificate(path: Path, *, days: int) -> Path:
    """Write a self-signed certificate with its key, for 127.0.0.1 and www.example, valid until in `days`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nano")])
    until = datetime.now(UTC) + timedelta(days=days, hours=1)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("www.example")]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(until - timedelta(days=100))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(made.public_bytes(encoding) + key.private_bytes(encoding, form, serialization.NoEncryption()))
    return path


def digest_of(path: Path) -> str:
    pem = path.read_text()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----BEGIN PRIVATE")])).hexdigest()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path / "server.pem", days=42)


@contextlib.asynccontextmanager
async def serving(certificate: Path) -> AsyncIterator[tuple[int, list[str | None]]]:
    """Serve one page over TLS. Gives the port, and the names that clients sent (SNI)."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    named: list[str | None] = []
    context.sni_callback = lambda _session, name, _context: named.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1], named
    server.close()
    await server.wait_closed()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trusts the server's certificate, as an operator would."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    connection.tls_context.cache_clear()
    yield
    connection.tls_context.cache_clear()


async def probe(url: str, **params: Any) -> Any:
    return await Bench().run(FUNCTION, {"url": url, "timeout_ms": 5000, **params})


@pytest.mark.usefixtures("trusted")
async def test_a_trusted_server_is_described_and_the_handshake_has_its_own_time(certificate: Path) -> None:
    async with serving(certificate) as (port, named):
        measured = await probe(f"https://www.example:{port}/", address="127.0.0.1")
    report = measured.data
    assert (measured.failure, report.status, named) == (None, 200, ["www.example"])
    assert (report.timings.connect_ns > 0, report.timings.tls_ns > 0) == (True, True)
    tls = report.tls
    assert (tls.version, tls.alpn, tls.verified) == ("TLSv1.3", "http/1.1", True)
    assert "AES" in tls.cipher or "CHACHA" in tls.cipher
    assert tls.certificate.sha256 == digest_of(certificate)
    assert (tls.certificate.subject, tls.certificate.issuer) == ("CN=nano", "CN=nano")
    assert sorted(tls.certificate.names) == ["127.0.0.1", "www.example"]
    assert tls.certificate.days_left == 42
    assert tls.certificate.not_before < tls.certificate.not_after


@pytest.mark.parametrize(("trust", "days", "words"), [(False, 9, "self-signed"), (True, -3, "expired")])
async def test_a_certificate_that_is_not_trusted_is_a_failure_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, days: int, *, trust: bool
) -> None:
    certificate = make_certificate(tmp_path / "odd.pem", days=days)
    if trust:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    connection.tls_context.cache_clear()
    async with serving(certificate) as (port, _):
        measured = await probe(f"https://127.0.0.1:{port}/")
        unverified = await probe(f"https://127.0.0.1:{port}/", verify_tls=False)
    connection.tls_context.cache_clear()
    assert (measured.failure.code, measured.failure.blame) == (Code.TLS, Blame.TARGET)
    assert measured.failure.stage == "tls"
    assert words in measured.failure.detail
    assert (measured.data.tls, measured.data.status) == (None, None)
    assert (measured.data.timings.connect_ns > 0, measured.data.timings.tls_ns) == (True, None)
    assert (unverified.failure, unverified.data.tls.verified) == (None, None)
    assert unverified.data.tls.certificate.days_left == days


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_for_another_name_is_a_failure(certificate: Path) -> None:
    async with serving(certificate) as (port, _):
        measured = await probe(f"https://other.example:{port}/", address="127.0.0.1")
    assert measured.failure.code is Code.TLS
    assert "other.example" in measured.failure.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "wrong version number"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "protocol version"),
    ],
    ids=["plain-http", "alert"],
)
async def test_a_server_that_cannot_shake_hands_is_a_tls_failure_with_its_reason(answer: bytes, words: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Read first, or closing would reset the connection before the answer is read.
        await reader.read(65_536)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    measured = await probe(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", verify_tls=False)
    assert (measured.failure.code, measured.failure.stage) == (Code.TLS, "tls")
    assert words in measured.failure.detail
    server.close()
    await server.wait_closed()


async def test_a_server_that_never_shakes_hands_is_a_timeout_in_that_phase() -> None:
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    measured = await probe(url, timeout_ms=300, verify_tls=False)
    assert (measured.failure.code, measured.failure.stage) == (Code.TIMEOUT, "tls")
    for writer in held:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_a_node_that_trusts_nobody_cannot_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = ssl.DefaultVerifyPaths(None, None, "", "", "", "")  # type: ignore[arg-type]  # what it is on such a host
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    connection.tls_context.cache_clear()
    with pytest.raises(CannotMeasure, match="ca-certificates"):
        await probe("https://127.0.0.1:9/")


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=200))
def test_any_bytes_have_a_digest_even_if_they_are_no_certificate(der: bytes) -> None:
    assert certificates.read(der).sha256 == hashlib.sha256(der).hexdigest()
