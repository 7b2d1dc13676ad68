"""How one worker is confined: what its runtime decides, and what travels with the order to fork it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from contracts.functions import Manifest
from runtime.box.landlock import Rules
from runtime.box.levels import Measure
from runtime.box.seccomp import Calls

_SPARE_MB = 1024
_PROCESSES = 128
_ANY_FREE_PORT = 0


class Spec(Struct, frozen=True, kw_only=True):
    """How one worker is confined.

    `address_space_mb` is generous, since it counts what is only mapped; resident memory is watched by the
    runtime. `measures` must hold: a worker that cannot be put under one of them does not start. `user` is
    the worker's own. `connect` and `bind` are TCP ports, None for every port.
    """

    name: str
    scratch: str
    code: str
    address_space_mb: int
    measures: list[Measure]
    user: int | None = None
    calls: Calls = Calls()
    connect: list[int] | None = None
    bind: list[int] | None = None
    open_files: int = 1024
    file_mb: int = 64
    processes: int = _PROCESSES

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        name: str,
        scratch: str,
        code: str,
        measures: Iterable[Measure],
        user: int | None,
        bus_ports: Iterable[int],
        bus_by_name: bool,
    ) -> Spec:
        """The box of a worker with this manifest, which needs `bus_ports` for NATS in any case.

        Names are looked up over UDP. So whoever measures a target by name has UDP, and so does every worker when
        NATS itself has to be found by name.
        """
        limits, needs = manifest.limits, manifest.needs
        serves = "listen" in needs
        return cls(
            name=name,
            scratch=scratch,
            code=code,
            address_space_mb=limits.memory_mb + _SPARE_MB,
            open_files=256 + 4 * limits.concurrency,
            measures=sorted(measures),
            user=user,
            calls=Calls(udp=bool(needs) or bus_by_name, listen=serves, metadata=user is not None),
            connect=None if "tcp" in needs else sorted(bus_ports),
            # To choose the address one sends from, without serving anything, is to bind to no port in particular.
            bind=None if serves else [_ANY_FREE_PORT],
        )

    def rules(self, readable: Iterable[str]) -> Rules:
        """What Landlock is to allow, with all that any worker may read."""
        return Rules(
            read=[*readable, self.code], write=[self.scratch, "/dev/null"], connect=self.connect, bind=self.bind
        )
