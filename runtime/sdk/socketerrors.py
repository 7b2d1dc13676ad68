"""What a socket's exception says about the target, in the vocabulary of measured failures."""

from __future__ import annotations

import errno
import ssl

from contracts.errors import CannotMeasure
from contracts.failure import Code, Failure, failed

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
_NO_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_FORBIDDEN = {errno.EPERM, errno.EACCES}


def socket_failure(error: OSError, *, stage: str) -> Failure:
    """Classify an exception of `connect`, `send`, `recv` or a TLS handshake.

    Raises CannotMeasure if it tells nothing about the target, such as no free descriptor.
    The texts hold no address and no data of the peer.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return failed(Code.TLS, f"the certificate is not trusted: {error.verify_message}", stage=stage)
    if isinstance(error, ssl.SSLError):
        # Only errors that OpenSSL raised itself have a reason.
        reason = (getattr(error, "reason", None) or "no reason given").lower().replace("_", " ")
        return failed(Code.TLS, f"the TLS handshake or session failed: {reason}", stage=stage)
    if isinstance(error, TimeoutError):
        return failed(Code.TIMEOUT, "the connection timed out", stage=stage)
    if isinstance(error, ConnectionRefusedError):
        return failed(Code.REFUSED, "nothing listens on this port", stage=stage)
    if isinstance(error, ConnectionError):
        return failed(Code.RESET, "the connection was reset", stage=stage)
    words = (error.strerror or "unknown error").lower()
    if error.errno in _UNREACHABLE:
        return failed(Code.UNREACHABLE, words, stage=stage)
    if error.errno in _NO_FAMILY:
        return failed(Code.NO_ADDRESS_FAMILY, f"this node cannot use this kind of address: {words}", stage=stage)
    if error.errno in _FORBIDDEN:
        return failed(Code.TARGET_DENIED, f"this node may not send to the target: {words}", stage=stage)
    if error.errno == errno.EMSGSIZE:
        return failed(Code.TOO_LARGE, "the packet is larger than the path allows", stage=stage)
    raise CannotMeasure(f"the node's socket failed: {words}") from error
