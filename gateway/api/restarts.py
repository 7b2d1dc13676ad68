"""Starting a function's workers anew, on all nodes at once."""

from __future__ import annotations

import asyncio

from litestar import Controller, post
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from contracts.errors import MmnError, Refused
from contracts.nodes import RestartRequest
from gateway.api.functions import FunctionName
from gateway.errors import Problem
from gateway.parts import Given
from gateway.security.roles import API


class Restarted(Struct, frozen=True, kw_only=True):
    """A node that was asked to replace its workers. `before` are the instances it had; `refused` says why not."""

    node: str
    before: list[str]
    refused: str | None = None


class RestartController(Controller):
    """Every node replaces its workers by itself; this asks them all."""

    path = f"{API}/functions"
    tags = ("functions",)

    @post(
        "/{name:str}/restart",
        summary="Replace the function's workers on every node, each by a ready one",
        operation_id="restart",
        status_code=200,
        responses={409: ResponseSpec(Problem, description="It is disabled")},
    )
    async def restart(self, name: FunctionName, parts: Given) -> list[Restarted]:
        """What was given up after a crash loop is tried anew."""
        deployment = parts.network.deployment(name)
        if not deployment.enabled:
            raise Refused(409, "disabled", f"function: {name} is disabled; enable it instead")
        modules = parts.network.modules()
        wanted = [
            one.instance
            for one in modules
            if one.kind == "runtime" and one.state in {"up", "suspect"} and deployment.wants_node(one.labels)
        ]
        before = {
            node: [
                one.instance
                for one in modules
                if one.kind == "worker" and one.node == node and one.function == name and one.state != "down"
            ]
            for node in wanted
        }

        async def ask(node: str) -> Restarted:
            try:
                await parts.network.control(node, "restart", RestartRequest(function=name))
            except MmnError as error:
                return Restarted(node=node, before=before[node], refused=str(error))
            return Restarted(node=node, before=before[node])

        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(ask(node)) for node in wanted]
        return [one.result() for one in asked]
