"""Which gateway to talk to, and as whom: tokens are kept in one file that only its owner may read."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from contracts import clock
from contracts.access.provision import write_secret
from gateway.cli.exits import Exit, Stop
from gateway.cli.settings import Settings

LOGINS_FILE = "logins.json"
STACK_FILE = "stack.json"
_SPARE_S = 10.0
_LOCK_POLL_S = 0.05


class Login(Struct, kw_only=True):
    """One gateway's tokens. `refresh` buys the next pair, once; with `password_file` nobody is asked after that.

    `ca` is the file with the authority that vouches for the gateway; None: those that this machine trusts.
    """

    user: str
    token: str
    expires_ns: int
    role: str = ""
    refresh: str | None = None
    password_file: str | None = None
    ca: str | None = None

    def fresh(self) -> bool:
        """Say whether the token is valid for a while longer."""
        return clock.wall_ns() + int(_SPARE_S * 1e9) < self.expires_ns


class Logins(Struct, kw_only=True):
    """Every gateway a token is kept for; `current` is the one of the last `mmn login`."""

    current: str | None = None
    gateways: dict[str, Login] = field(default_factory=dict)
    v: int = 1


@dataclass(frozen=True, slots=True)
class Network:
    """What `stack.json` tells about the network on this machine."""

    url: str
    user: str
    password_file: Path
    ca: str | None = None


def local_network(state: Path) -> Network | None:
    """The network that runs in a state directory, if one does."""
    try:
        told: Any = msgspec.json.decode((state / STACK_FILE).read_bytes())
        gateway, admin = told["gateway"], told["admin"]
        return Network(gateway["url"], admin["user"], Path(admin["password_file"]), gateway.get("ca"))
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return None


class Session:
    """The gateway chosen for this command, and the login for it.

    The gateway is named by `--url`, else MMN_URL, else the last login, else the network on this machine.
    """

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        self._file = settings.state / LOGINS_FILE
        self._local = local_network(settings.state)
        chosen = url or settings.url or self._read().current or (self._local.url if self._local else None)
        if chosen is None:
            hint = "start a network here by `mmn up`, or name a gateway by `mmn login URL`, --url or MMN_URL"
            raise Stop(Exit.UNAVAILABLE, "no gateway is known", hint)
        self.url = normal(chosen)
        self._ca = str(settings.ca) if settings.ca else None

    @property
    def ca(self) -> str | None:
        """The file with the authority to trust: by option or MMN_CA, else as at the login, else the local network's."""
        login = self.login()
        here = self._local if self._local and normal(self._local.url) == self.url else None
        return self._ca or (login.ca if login else None) or (here.ca if here else None)

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Keep other commands from using the refresh token meanwhile: it counts once."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_LOCK_POLL_S)
            yield

    def _read(self) -> Logins:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Logins)
        except FileNotFoundError:
            return Logins()
        except (OSError, msgspec.DecodeError) as error:
            raise Stop(Exit.BAD_INPUT, "the logins cannot be read", f"{self._file}: {error}; delete it") from error

    def login(self) -> Login | None:
        """The kept login for this gateway."""
        return self._read().gateways.get(self.url)

    def password(self) -> tuple[str, str, str] | None:
        """User, password and its file, when the password lies in a file that is known."""
        login = self.login()
        known = [(login.user, login.password_file)] if login and login.password_file else []
        if self._local and normal(self._local.url) == self.url:
            known.append((self._local.user, str(self._local.password_file)))
        for user, file in known:
            try:
                return user, Path(file).read_text().strip(), file
            except (OSError, UnicodeDecodeError):
                continue
        return None

    def keep(self, login: Login, *, current: bool = False) -> None:
        """Remember a login; `current` makes this gateway the default from now on."""
        logins = self._read()
        logins.gateways[self.url] = login
        if current:
            logins.current = self.url
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(self._file, msgspec.json.format(msgspec.json.encode(logins)).decode())

    def forget(self) -> bool:
        """Drop the login for this gateway; says whether there was one."""
        logins = self._read()
        known = logins.gateways.pop(self.url, None) is not None
        if logins.current == self.url:
            logins.current = None
        write_secret(self._file, msgspec.json.format(msgspec.json.encode(logins)).decode())
        return known


def normal(url: str) -> str:
    """A gateway's URL as it is kept: with a scheme, without a final slash. Raises Stop."""
    text = url.strip()
    if "://" not in text:
        text = f"http://{text}" if text.startswith(("127.", "localhost", "[::1]")) else f"https://{text}"
    if not text.startswith(("http://", "https://")) or not text.partition("://")[2].strip("/"):
        raise Stop(Exit.BAD_INPUT, "not a gateway's URL", f"{url!r} must be like https://mmn.example.net")
    if "@" in text:
        raise Stop(Exit.BAD_INPUT, "not a gateway's URL", "a URL must not hold a password; use `mmn login`")
    return text.rstrip("/")
