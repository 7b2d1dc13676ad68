"""Functions as they are deployed: look, switch on and off, scale, delete."""

from __future__ import annotations

from typing import Annotated

import msgspec
import structlog
from litestar import Controller, Response, delete, get, post
from litestar.params import JSONBody, PathParameter
from msgspec import Meta, Struct

from contracts.errors import Refused
from contracts.functions import Deployment
from contracts.modules import Card
from gateway.nodes import Problem, problems
from gateway.parts import Given
from gateway.registry import Module
from gateway.security.roles import API

log = structlog.get_logger(__name__)

FunctionName = Annotated[str, PathParameter(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class FunctionView(Struct, frozen=True, kw_only=True):
    """A deployment, how many instances of its version are up, and what keeps it from running somewhere."""

    name: str
    deployment: Deployment
    up: int
    problems: list[Problem] = []


class FunctionDetail(Struct, frozen=True, kw_only=True):
    """A function with the card of its version (None until a worker was ready once) and its instances."""

    name: str
    deployment: Deployment
    up: int
    card: Card | None
    instances: list[Module]
    problems: list[Problem] = []


class Scale(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many workers should run on every node that matches."""

    workers: Annotated[int, Meta(ge=0, le=64)]


class FunctionController(Controller):
    """What is wished, and what runs."""

    path = f"{API}/functions"
    tags = ("functions",)

    @get(summary="List functions", operation_id="functions")
    async def functions(self, parts: Given) -> list[FunctionView]:
        modules = parts.network.modules()
        return [
            FunctionView(
                name=found.function,
                deployment=found,
                up=_up(found, modules),
                problems=problems(modules, found.function),
            )
            for found in parts.network.deployments()
        ]

    @get("/{name:str}", summary="One function with its schemas and instances", operation_id="function")
    async def function(self, name: FunctionName, parts: Given) -> FunctionDetail:
        deployment = parts.network.deployment(name)
        instances = parts.network.modules(function=name)
        return FunctionDetail(
            name=name,
            deployment=deployment,
            up=_up(deployment, instances),
            card=parts.network.card(name, deployment.version),
            instances=instances,
            problems=problems(parts.network.modules(), name),
        )

    @delete("/{name:str}", summary="Delete a function", operation_id="delete_function", status_code=204)
    async def delete(self, name: FunctionName, parts: Given) -> Response[None]:
        """Its workers finish what they have and end; jobs that wait end as `function-gone`. Results stay."""
        await parts.network.delete_deployment(name)
        log.info("function deleted", function=name)
        return Response(None, status_code=204)

    @post("/{name:str}/enable", summary="Let the function run", operation_id="enable", status_code=200)
    async def enable(self, name: FunctionName, parts: Given) -> Deployment:
        return await _change(parts, name, enabled=True)

    @post("/{name:str}/disable", summary="Stop the function everywhere", operation_id="disable", status_code=200)
    async def disable(self, name: FunctionName, parts: Given) -> Deployment:
        return await _change(parts, name, enabled=False)

    @post("/{name:str}/scale", summary="Set the number of workers per node", operation_id="scale", status_code=200)
    async def scale(self, name: FunctionName, data: JSONBody[Scale], parts: Given) -> Deployment:
        return await _change(parts, name, workers=data.workers)


async def _change(parts: Given, name: str, **values: bool | int) -> Deployment:
    def change(before: Deployment | None) -> Deployment:
        if before is None:
            raise Refused(404, "no-such-function", f"there is no function {name!r}")
        return msgspec.structs.replace(before, **values)

    return (await parts.network.change_deployment(name, change))[0]


def _up(deployment: Deployment, modules: list[Module]) -> int:
    return sum(
        module.state == "up" and module.function == deployment.function and module.version == deployment.version
        for module in modules
    )
