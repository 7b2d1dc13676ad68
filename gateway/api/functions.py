"""Functions as they are deployed: look, switch on and off, scale, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Controller, Request, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta, Struct

from contracts import clock
from contracts.bundles import inspect_wheel
from contracts.errors import Refused
from contracts.evidence import Comparison, compare, merge
from contracts.functions import Deployment
from contracts.modules import Card
from contracts.rollouts import Version, on_its_way, promote, return_to, roll_back
from gateway import errors
from gateway.nodes import Problem, problems
from gateway.parts import Given
from gateway.registry import Module
from gateway.security.audit import note
from gateway.security.roles import API
from gateway.security.tokens import Claims

log = structlog.get_logger(__name__)

FunctionName = Annotated[str, PathParameter(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class FunctionView(Struct, frozen=True, kw_only=True):
    """A deployment, how many instances of its version are up, and what keeps it from running somewhere.

    `comparison` tells of a rollout under way.
    """

    name: str
    deployment: Deployment
    up: int
    problems: list[Problem] = []
    comparison: Comparison | None = None


class FunctionDetail(Struct, frozen=True, kw_only=True):
    """A function with the card of its version (None until a worker was ready once) and its instances."""

    name: str
    deployment: Deployment
    up: int
    card: Card | None
    instances: list[Module]
    problems: list[Problem] = []
    comparison: Comparison | None = None


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
                comparison=_comparison(found, modules),
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
            comparison=_comparison(deployment, parts.network.modules()),
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
    async def scale(
        self, name: FunctionName, data: JSONBody[Scale], request: Request[Any, Claims, Any], parts: Given
    ) -> Deployment:
        note(request, detail=f"workers={data.workers}")
        return await _change(parts, name, workers=data.workers)

    @post(
        "/{name:str}/promote",
        summary="End a rollout: the new version takes over now",
        operation_id="promote",
        status_code=200,
    )
    async def promote(self, name: FunctionName, request: Request[Any, Claims, Any], parts: Given) -> Deployment:
        at, user, authors = clock.utc_now(), request.auth.sub, await parts.network.authors()

        def take_over(held: Deployment) -> Deployment:
            new = on_its_way(held)
            if new is not None:
                authors.check(new.upload.signature if new.upload else None, new.digest)
            return promote(held, at=at, by=user, reason="by request")

        return await _end(parts, name, take_over)

    @post(
        "/{name:str}/rollback",
        summary="End a rollout in favour of the old version, or go back to an earlier one",
        operation_id="rollback",
        status_code=200,
        responses={404: ResponseSpec(errors.Problem, description="No such function, or it never had this version")},
    )
    async def rollback(
        self,
        name: FunctionName,
        request: Request[Any, Claims, Any],
        parts: Given,
        *,
        to: Annotated[str | None, QueryParameter(max_length=32, description="an earlier version")] = None,
    ) -> Deployment:
        held, at, user = parts.network.deployment(name), clock.utc_now(), request.auth.sub
        if held.rollout is not None and to in {None, held.version}:
            return await _end(parts, name, lambda found: roll_back(found, at=at, by=user, reason="by request"))
        old = await _earlier(parts, held, to or held.previous)
        note(request, detail=f"to {old.version}")

        def change(before: Deployment | None) -> Deployment:
            if before is None or before.version == old.version:
                raise Refused(409, "deployed-already", f"{name} {old.version} is what is deployed")
            return return_to(before, old, at=at, by=user)

        return (await parts.network.change_deployment(name, change))[0]


async def _end(parts: Given, name: str, change: Callable[[Deployment], Deployment]) -> Deployment:
    """End the rollout under way. Raises Refused (404, 409)."""

    def end(before: Deployment | None) -> Deployment:
        if before is None:
            raise Refused(404, "no-such-function", f"there is no function {name!r}")
        if before.rollout is None:
            raise Refused(409, "no-rollout", f"{name} has no rollout under way")
        return change(before)

    return (await parts.network.change_deployment(name, end))[0]


async def _earlier(parts: Given, held: Deployment, version: str) -> Version:
    """A version that was deployed before, in full, from its bundle. Raises Refused."""
    if not version:
        raise Refused(409, "no-earlier-version", f"{held.function} has had no version before {held.version}")
    digest = held.versions.get(version)
    if digest is None:
        known = ", ".join(held.versions)
        raise Refused(404, "no-such-version", f"{held.function} has had no version {version!r}; there are: {known}")
    data = await parts.network.bundle(digest)
    upload = held.uploads.get(digest)
    # Whoever signed it may be trusted no more. The store has computed the digest of what it read.
    (await parts.network.authors()).check(upload.signature if upload else None, digest)
    async with parts.inspecting:
        info = await asyncio.to_thread(inspect_wheel, data, environment=parts.environment)
    by, at = (upload.by, upload.at) if upload else ("", "")
    return Version(
        version=version, digest=digest, manifest=info.manifest, size=info.size, uploaded_by=by, uploaded_at=at
    )


def _comparison(deployment: Deployment, modules: list[Module]) -> Comparison | None:
    if deployment.rollout is None:
        return None
    told = [
        evidence
        for module in modules
        if module.kind == "anchor" and module.health is not None
        for evidence in module.health.rollouts
    ]
    return compare(deployment, merge(deployment.rollout, deployment.function, told))


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
