"""Nodes: look, take them out of work and back, replace their workers."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter

from contracts.nodes import DrainRequest, NodeReply, RestartRequest
from gateway.errors import Problem
from gateway.nodes import NodeView, nodes
from gateway.parts import Given
from gateway.security.audit import note
from gateway.security.roles import API
from gateway.security.tokens import Claims

NodeName = Annotated[str, PathParameter(pattern=r"^[a-z0-9]{1,32}$")]
Asked = Request[Any, Claims, Any]
MISSING = {404: ResponseSpec(Problem, description="There is no such node, or it runs no such function")}


class NodeController(Controller):
    """The hosts that measure, each kept by its runtime."""

    path = f"{API}/nodes"
    tags = ("nodes",)

    @get(summary="List nodes", operation_id="nodes")
    async def nodes(self, parts: Given) -> list[NodeView]:
        return nodes(parts.network.modules())

    @post(
        "/{node:str}/drain",
        summary="Take no more work on a node, or take it again",
        operation_id="drain",
        status_code=200,
        responses=MISSING,
    )
    async def drain(
        self, node: NodeName, request: Asked, parts: Given, data: JSONBody[DrainRequest | None] = None
    ) -> NodeReply:
        """Its workers finish what they have and end; jobs pinned to it wait. The node keeps to it when it restarts."""
        wish = data or DrainRequest()
        note(request, detail="" if wish.on else "off")
        return await parts.network.control(node, "drain", wish)

    @post(
        "/{node:str}/restart",
        summary="Replace a node's workers, each by a ready one",
        operation_id="restart_node",
        status_code=200,
        responses=MISSING,
    )
    async def restart(
        self, node: NodeName, request: Asked, parts: Given, data: JSONBody[RestartRequest | None] = None
    ) -> NodeReply:
        """Of one function, or of all. What was given up is tried anew."""
        wish = data or RestartRequest()
        note(request, detail=wish.function or "")
        return await parts.network.control(node, "restart", wish)
