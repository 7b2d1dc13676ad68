"""What every worker may read: the interpreter, the packages, and the few files of the system that libraries need."""

from __future__ import annotations

import os
import ssl
import sys
import sysconfig
from pathlib import Path
from typing import Final

import contracts
import runtime

NAMES: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")
"""What the C library reads to look up a name."""

SYSTEM: Final = (
    # Shared libraries, among them those that the C library loads when a name is looked up.
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    *NAMES,
    *("/etc/services", "/etc/protocols", "/run/systemd/resolve"),
    # Certificates and time zones.
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/ca-certificates", "/etc/pki/ca-trust"),
    *("/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/etc/localtime", "/usr/share/zoneinfo"),
    *("/dev/urandom", "/dev/random"),
)
"""File by file below /etc, since a folder there would bring what it holds of passwords and keys."""

OWN: Final = "/proc/self"


def program() -> list[str]:
    """Folders with the code that a worker runs, from where this interpreter runs now."""
    schemes = sysconfig.get_paths()
    found = {schemes[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("DESTSHARED") or ""}
    # Not the folder that they lie in: from a checkout that is the whole project.
    found |= {str(Path(module.__file__ or "").resolve().parent) for module in (runtime, contracts)}
    found |= {path for path in sys.path if path.endswith(("-packages", ".zip"))}
    return sorted(os.path.realpath(path) for path in found if path and Path(path).exists())


def certificates() -> list[str]:
    """Where this interpreter's OpenSSL looks for the certificates that it trusts."""
    verify = ssl.get_default_verify_paths()
    places = (verify.cafile, verify.capath, verify.openssl_cafile, verify.openssl_capath)
    return sorted({place for place in places if place})


def identities() -> list[tuple[int, int] | None]:
    """Which files those for looking up names are now. A file that is written anew has another identity."""
    found: list[tuple[int, int] | None] = []
    for name in NAMES:
        try:
            seen = Path(name).stat()
        except OSError:
            found.append(None)
        else:
            found.append((seen.st_dev, seen.st_ino))
    return found


def readable() -> list[str]:
    """All of it. `/proc/self` is whoever opens it, so the rules are made in the worker itself."""
    return [*program(), *certificates(), *SYSTEM, OWN]
