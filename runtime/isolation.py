"""How this node confines its workers: what holds here, who is let in, and the box of each worker."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import structlog
from msgspec import Struct

from contracts.functions import Need
from runtime import box, egress
from runtime.box import user
from runtime.bundles import Bundle, NoBundle
from runtime.channel import Assignment
from runtime.forks import Forks
from runtime.settings import Settings
from runtime.targets import TargetPolicy, resolver_addresses

log = structlog.get_logger(__name__)

Enforcement = Literal["enforced", "advisory"]
_DEFAULT_PORT = 4222
_LOOK_AGAIN_S = 15.0


class State(Struct, frozen=True, kw_only=True):
    """What holds for every worker of this node now. `measures` are what a worker must be under to start at all."""

    level: box.Level = "B4"
    measures: frozenset[box.Measure] = frozenset()
    egress: Enforcement = "advisory"
    gaps: tuple[str, ...] = ("not looked at",)


class Isolation:
    """The box of a node. `open` before the first worker, `close` after the last."""

    def __init__(self, settings: Settings, targets: TargetPolicy, scratch: Path, bundles: Path) -> None:
        self._settings = settings
        self._claim = None if settings.worker_users else user.Claim(settings.node)
        self._users = self._claim.users if self._claim else box.Users.read(settings.worker_users, at="worker_users")
        self._user = self._users.last
        self._found = box.NOTHING
        self._egress = egress.Egress()
        self._ports = bus_ports(settings.nats_url)
        self._targets = targets
        self.state = State()
        self.opened = asyncio.Event()
        plan = box.Plan(
            user=self._users.first, bundles=str(bundles), scratch=str(scratch), without=settings.box_without
        )
        self.forks = Forks(plan)

    async def open(self) -> None:
        """Find out what holds here. Raises NotEnforced where a setting wants egress enforced and it cannot be."""
        found = await self.forks.awake()
        enforcement, why = await self._enforce(found)
        self._take(found, enforcement, why)
        self.opened.set()

    def _take(self, found: box.Found, enforcement: Enforcement, why: str) -> None:
        self._found = found
        gaps = box.gaps(found, egress=enforcement, why=why)
        self.state = State(level=box.level(found), measures=found.holds, egress=enforcement, gaps=tuple(gaps))
        log.info("workers are confined", box=self.state.level, egress=enforcement, gaps=gaps)

    async def _enforce(self, found: box.Found) -> tuple[Enforcement, str]:
        mode = self._settings.egress
        try:
            if mode == "advisory":
                raise egress.NotEnforced("switched off by a setting")
            if "user" not in found.holds:
                raise egress.NotEnforced("workers have no users of their own")
            if not user.capabilities() >> user.ADMINISTER_NETWORK & 1:
                raise egress.NotEnforced("the runtime lacks CAP_NET_ADMIN")
            await self._egress.lay(self._wish())
        except egress.NotEnforced as error:
            if mode == "enforced":
                raise egress.NotEnforced(f"egress cannot be enforced here: {error}") from error
            return "advisory", str(error)
        return "enforced", ""

    def _wish(self) -> egress.Wish:
        return egress.Wish(
            users=self._users,
            bus_ports=self._ports,
            resolvers=resolver_addresses(),
            targets=self._targets,
        )

    async def keep(self, renew: Callable[[], None]) -> None:
        """See to it that it stays so. `renew` replaces the workers, when what they may read has been replaced."""
        before = box.identities()
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            now = box.identities()
            if now != before and "landlock" in self.state.measures:
                # Landlock's rules are for the files that were there, not for those with the same name.
                log.info("files for looking up names were replaced: so are the workers")
                renew()
            before = now
            # Whoever reloads the host's own rules may remove all there are.
            if self.state.egress == "enforced" and not await self._egress.holds(self._users):
                log.warning("rules for egress were gone", node=self._settings.node)
                self._egress.forget()
                enforcement, why = await self._enforce(self._found)
                self._take(self._found, enforcement, why)

    async def close(self) -> None:
        """Take the rules away."""
        if self.state.egress == "enforced":
            try:
                await self._egress.lift(self._users)
            except egress.NotEnforced as error:
                log.warning("rules for egress left behind", reason=str(error))
        if self._claim is not None:
            self._claim.close()

    def admit(self, bundle: Bundle) -> None:
        """Let a bundle in, or raise NoBundle."""
        reason = refusal(
            self.state,
            bundle.info.manifest.needs,
            own=bundle.own,
            minimum=self._settings.min_box,
            unless_advisory=self._settings.egress == "advisory",
        )
        if reason:
            raise NoBundle(reason, for_good=True)

    async def box_for(self, who: Assignment) -> box.Spec:
        """The box of one worker, with a user of its own if there are any. Raises NotEnforced."""
        if self.state.egress == "enforced":
            # The node's name servers may have changed.
            await self._egress.lay(self._wish())
        own = None
        if "user" in self.state.measures:
            own = self._user = self._users.after(self._user)
        return box.Spec.of(
            who.manifest,
            name=f"mmn {who.function}",
            scratch=who.scratch,
            code=who.code,
            measures=self.state.measures,
            user=own,
            bus_ports=self._ports,
            bus_by_name=found_by_name(self._settings.nats_url),
        )


def refusal(state: State, needs: Collection[Need], *, own: bool, minimum: box.Level, unless_advisory: bool) -> str:
    """Why a bundle may not run on this node; empty when it may. Pure.

    One's own runs everywhere. A third party's needs a box of the minimum level, and if it uses the network
    also enforced egress, unless the operator has switched that off.
    """
    if own:
        return ""
    if not box.reaches(state.level, minimum):
        return f"the bundle is a third party's, and this node's box is {state.level}, below {minimum}: {state.gaps[0]}"
    if needs and state.egress != "enforced" and not unless_advisory:
        return f"the bundle is a third party's and needs {', '.join(needs)}, and this node does not enforce egress"
    return ""


def bus_ports(urls: str) -> list[int]:
    """The ports of the NATS servers in a list of URLs: the only ones that every worker may connect to."""
    return sorted({port or _DEFAULT_PORT for _, port in _servers(urls)})


def found_by_name(urls: str) -> bool:
    """Whether one of the servers has to be looked up."""
    return not all(_is_address(host) for host, _ in _servers(urls))


def _servers(urls: str) -> list[tuple[str, int | None]]:
    split = [urlsplit(url.strip() if "//" in url else f"nats://{url.strip()}") for url in urls.split(",")]
    return [(parts.hostname or "", parts.port) for parts in split]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
