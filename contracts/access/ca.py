"""A network's own certificate authority: it vouches for NATS and the gateway where nobody else does.

Keys are ECDSA on P-256. What is made lies in one folder, 0700, keys 0600, and is renewed before it ends:
`ca.crt` is all that clients need; `ca.key` signs; `<name>.crt` and `<name>.key` are a server's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from contracts import clock
from contracts.access.provision import write_secret
from contracts.errors import MmnError

CA_DAYS = 3650
SERVER_DAYS = 397
"""Longer ones are refused by some clients."""
_RENEW_WITH = 1 / 3
"""Renewed when less than this part of the validity is left."""
_SKEW = timedelta(hours=1)
"""A client's clock may be behind."""


class Pair(Struct, frozen=True):
    """A server's certificate and its key."""

    cert: Path
    key: Path


class LocalCa:
    """The authority in one folder; made at its first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file = folder / "ca.crt"
        """The certificate that clients are given."""
        self._key_file = folder / "ca.key"

    def ensure(self) -> None:
        """Make the authority if there is none, or if it ends soon: then every client needs the new `ca.crt`."""
        found = _certificate(self.file)
        if found is not None and self._key_file.exists() and not _ends_soon(found):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mmn local authority {serial % 0xFFFFFF:06x}")])
        begin = _now() - _SKEW
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), serial, begin, begin + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(self._key_file, key)
        write_secret(self.file, made.public_bytes(Encoding.PEM).decode())

    def server(self, name: str, hosts: Iterable[str]) -> Pair:
        """The certificate `name` for these host names and addresses, made anew when they differ or it ends soon."""
        self.ensure()
        wanted = list(dict.fromkeys(hosts))
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        found, authority = _certificate(pair.cert), self._authority()
        if (
            found is not None
            and pair.key.exists()
            and found.issuer == authority.subject
            and _hosts_of(found) == set(wanted)
            and not _ends_soon(found)
        ):
            return pair
        signer = load_pem_private_key(self._key_file.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        begin = _now() - _SKEW
        made = (
            x509.CertificateBuilder(
                authority.subject,
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
                key.public_key(),
                x509.random_serial_number(),
                begin,
                min(begin + timedelta(days=SERVER_DAYS), authority.not_valid_after_utc),
            )
            .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in wanted]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        _write_key(pair.key, key)
        write_secret(pair.cert, made.public_bytes(Encoding.PEM).decode())
        return pair

    def _authority(self) -> x509.Certificate:
        found = _certificate(self.file)
        if found is None:
            raise MmnError(f"{self.file} is no certificate; delete it and everything beside it, then start again")
        return found


def _now() -> datetime:
    return datetime.fromtimestamp(clock.wall_ns() // 1_000_000_000, UTC)


def _certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _ends_soon(found: x509.Certificate) -> bool:
    whole = found.not_valid_after_utc - found.not_valid_before_utc
    return found.not_valid_after_utc - _now() < whole * _RENEW_WITH


def _hosts_of(found: x509.Certificate) -> set[str]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise MmnError(f"{host!r} is no host name for a certificate: {error}") from error


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
