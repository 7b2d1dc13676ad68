"""What a TLS session and the server's certificate say (RFC 5280, RFC 8446). No socket."""

from __future__ import annotations

import hashlib
import ssl

from cryptography import x509

from runtime.sdk import Report, rfc3339, wall_ns

_MOST_NAMES = 50
_MOST_CHARACTERS = 512
_DAY = 86_400


class Certificate(Report, frozen=True):
    """The server's own certificate. Whatever cannot be read in it is None or empty.

    `days_left` are whole days until `not_after`, negative after it. `names_cut`: it holds more names.
    """

    sha256: str
    subject: str | None = None
    issuer: str | None = None
    names: list[str] = []  # noqa: RUF012  # msgspec copies an empty default
    names_cut: bool = False
    serial: str | None = None
    not_before: str | None = None
    not_after: str | None = None
    days_left: int | None = None


class Tls(Report, frozen=True):
    """A TLS session. `verified` is None if verification was switched off, else true: a failed one leaves no session."""

    version: str | None
    cipher: str | None
    alpn: str | None
    verified: bool | None
    certificate: Certificate | None


def describe(session: ssl.SSLObject, *, verified: bool | None) -> Tls:
    """Read what was negotiated."""
    cipher = session.cipher()
    der = session.getpeercert(binary_form=True)
    return Tls(
        version=session.version(),
        cipher=None if cipher is None else cipher[0],
        alpn=session.selected_alpn_protocol(),
        verified=verified,
        certificate=None if der is None else read(der),
    )


def read(der: bytes) -> Certificate:
    """Read a certificate, however odd."""
    digest = hashlib.sha256(der).hexdigest()
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = _names(certificate)
        until = certificate.not_valid_after_utc.timestamp()
        return Certificate(
            sha256=digest,
            subject=certificate.subject.rfc4514_string()[:_MOST_CHARACTERS],
            issuer=certificate.issuer.rfc4514_string()[:_MOST_CHARACTERS],
            names=names[:_MOST_NAMES],
            names_cut=len(names) > _MOST_NAMES,
            serial=f"{certificate.serial_number:x}"[:64],
            not_before=rfc3339(int(certificate.not_valid_before_utc.timestamp()) * 1_000_000_000),
            not_after=rfc3339(int(until) * 1_000_000_000),
            days_left=int((until - wall_ns() / 1e9) // _DAY),
        )
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType):
        return Certificate(sha256=digest)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return []
    named = [
        *found.get_values_for_type(x509.DNSName),
        *(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    ]
    return [name[:_MOST_CHARACTERS] for name in named]
