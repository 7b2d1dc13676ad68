"""Whose bundles the network takes."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, delete, get, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from msgspec import Meta, Struct

from contracts import clock
from contracts.signatures import check_author
from gateway.authors import Author, Authors, Run, runs_of
from gateway.errors import Problem
from gateway.parts import Given
from gateway.security.roles import API
from gateway.security.tokens import Claims

AuthorKey = Annotated[str, PathParameter(pattern=r"^U[A-Z2-7]{55}$")]


class AuthorWish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to call an author."""

    name: Annotated[str, Meta(max_length=64)] = ""


class Distrusted(Struct, frozen=True, kw_only=True):
    """What of an author's still runs: it goes on until it is replaced, disabled or deleted, or a node refuses it."""

    key: str
    runs: list[Run]


class AuthorController(Controller):
    """Public keys of authors. Nodes have lists of their own, which these do not change."""

    path = f"{API}/authors"
    tags = ("authors",)

    @get(summary="List the authors whose bundles may be uploaded", operation_id="authors")
    async def authors(self, parts: Given) -> list[Author]:
        return (await parts.network.authors()).trusted

    @put(
        "/{key:str}",
        summary="Trust an author: bundles signed by this key may be uploaded",
        operation_id="trust_author",
        responses={400: ResponseSpec(Problem, description="Not an author's public key")},
    )
    async def trust(
        self, key: AuthorKey, data: JSONBody[AuthorWish], request: Request[Any, Claims, Any], parts: Given
    ) -> Author:
        check_author(key)
        new = Author(key=key, name=data.name, by=request.auth.sub, since=clock.utc_now())
        after, _ = await parts.network.change_authors(lambda before: (before or Authors()).trusting(new))
        return next(one for one in after.trusted if one.key == key)

    @delete(
        "/{key:str}",
        summary="Trust an author no longer; says what of theirs still runs",
        operation_id="distrust_author",
        status_code=200,
        responses={404: ResponseSpec(Problem, description="This author is not trusted anyway")},
    )
    async def distrust(self, key: AuthorKey, parts: Given) -> Distrusted:
        await parts.network.change_authors(lambda before: (before or Authors()).without(key))
        return Distrusted(key=key, runs=runs_of(key, parts.network.deployments()))
