from __future__ import annotations

import errno
import ssl

import pytest

from runtime.sdk import CannotMeasure, Code, failed, socket_failure


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(), Code.REFUSED),
        (ConnectionResetError(), Code.RESET),
        (BrokenPipeError(), Code.RESET),
        (TimeoutError(), Code.TIMEOUT),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), Code.UNREACHABLE),
        (OSError(errno.EADDRNOTAVAIL, "x"), Code.NO_ADDRESS_FAMILY),
        (PermissionError(errno.EACCES, "x"), Code.TARGET_DENIED),
        (OSError(errno.EMSGSIZE, "x"), Code.TOO_LARGE),
        (ssl.SSLError(1, "[SSL] x"), Code.TLS),
    ],
    ids=lambda value: value.value if isinstance(value, Code) else type(value).__name__,
)
def test_what_a_socket_says_is_a_failure_of_its_stage(error: OSError, code: Code) -> None:
    failure = socket_failure(error, stage="connect")
    assert (failure.code, failure.stage) == (code, "connect")
    assert failure == failed(code, failure.detail, stage="connect")


def test_what_is_the_nodes_own_trouble_is_no_measurement() -> None:
    with pytest.raises(CannotMeasure, match="too many open files"):
        socket_failure(OSError(errno.EMFILE, "Too many open files"), stage="connect")
