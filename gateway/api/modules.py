"""Everything that runs in the network: workers, runtimes, Anchors, gateways."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.params import FromQuery, QueryParameter

from contracts.modules import Kind, State
from gateway.parts import Given
from gateway.registry import Module
from gateway.security.roles import API


class ModuleController(Controller):
    """Instances by heartbeat and announcement; who is down stays for a minute."""

    path = f"{API}/modules"
    tags = ("modules",)

    @get(summary="List instances", operation_id="modules")
    async def modules(
        self,
        parts: Given,
        *,
        kind: FromQuery[Kind | None] = None,
        in_state: Annotated[State | None, QueryParameter(name="state")] = None,
        function: FromQuery[str | None] = None,
    ) -> list[Module]:
        return [
            module
            for module in parts.network.modules(function=function)
            if kind in {None, module.kind} and in_state in {None, module.state}
        ]
