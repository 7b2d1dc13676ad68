"""Upload bundles: checked without running them, stored, and then wished for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from contracts import clock
from contracts.bundles import BundleInfo, inspect_wheel
from contracts.errors import InvalidField, Refused
from contracts.functions import MAX_BUNDLE_BYTES, Deployment, check_labels
from gateway.errors import Problem
from gateway.parts import Given
from gateway.security.roles import API
from gateway.security.tokens import Claims

_MULTIPART_BYTES = 64 * 1024
_RAW = ("application/octet-stream", "application/zip")
_FORM = "multipart/form-data"


class Bundle(Struct, frozen=True, kw_only=True):
    """A version that was uploaded. `deployed`: it is the one that should run now."""

    function: str
    version: str
    digest: str
    deployed: bool


class Wish(Struct, frozen=True, kw_only=True):
    """Where and how often to run an upload; None keeps what was wished before."""

    workers: int | None = None
    match: dict[str, str] | None = None
    enabled: bool | None = None


@dataclass
class UploadOperation(Operation):
    """The documented form of a body that Litestar does not decode."""

    def __post_init__(self) -> None:
        wheel = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": wheel}, required=["file"])
        content = {media: OpenAPIMediaType(schema=wheel) for media in _RAW}
        self.request_body = RequestBody(
            description="A wheel", required=True, content={**content, _FORM: OpenAPIMediaType(schema=form)}
        )


class BundleController(Controller):
    """One bundle is one version of one function; a version never changes its content."""

    path = f"{API}/bundles"
    tags = ("bundles",)

    @get(summary="List every version that was uploaded", operation_id="bundles")
    async def bundles(self, parts: Given) -> list[Bundle]:
        return [
            Bundle(function=one.function, version=version, digest=digest, deployed=version == one.version)
            for one in parts.network.deployments()
            for version, digest in one.versions.items()
        ]

    @post(
        summary="Upload a bundle and deploy it",
        operation_id="upload",
        operation_class=UploadOperation,
        request_max_body_size=MAX_BUNDLE_BYTES + _MULTIPART_BYTES,
        responses={
            200: ResponseSpec(Deployment, description="The version was known; the deployment is as asked"),
            400: ResponseSpec(Problem, description="The bundle breaks a rule; `reason` and `field` say which"),
            409: ResponseSpec(Problem, description="This version was uploaded before with other content"),
        },
    )
    async def upload(
        self,
        request: Request[Any, Claims, Any],
        parts: Given,
        *,
        filename: Annotated[str | None, QueryParameter(max_length=255)] = None,
        workers: Annotated[int | None, QueryParameter(ge=0, le=64)] = None,
        match: Annotated[
            list[str] | None, QueryParameter(description="key=value, repeated; one empty value clears")
        ] = None,
        enabled: FromQuery[bool | None] = None,
    ) -> Response[Deployment]:
        wish = Wish(workers=workers, match=labels(match), enabled=enabled)
        data, name = await _body(request)
        async with parts.inspecting:
            info = await asyncio.to_thread(
                inspect_wheel, data, filename=filename or name, environment=parts.environment
            )
        user, now = request.auth.sub, clock.utc_now()
        known = any(
            one.function == info.function and info.version in one.versions for one in parts.network.deployments()
        )
        # First what can be refused, then the bundle, then the wish: a node never wants what is not there.
        deployed(_held(parts, info.function), info, wish, user, now)
        await parts.network.store_bundle(info.digest, data)
        deployment, _ = await parts.network.change_deployment(
            info.function, lambda before: deployed(before, info, wish, user, now)
        )
        return Response(deployment, status_code=200 if known else 201)


def labels(pairs: list[str] | None) -> dict[str, str] | None:
    """Read `key=value` options. Raises InvalidField."""
    if pairs is None:
        return None
    found: dict[str, str] = {}
    for pair in filter(None, pairs):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidField("match", f"must be key=value, not {pair[:80]!r}")
        found[key] = value
    return check_labels(found, at="match")


def deployed(before: Deployment | None, info: BundleInfo, wish: Wish, user: str, now: str) -> Deployment:
    """The deployment after an upload. Raises Refused (409) when the version has other content already."""
    versions = dict(before.versions) if before else {}
    if versions.setdefault(info.version, info.digest) != info.digest:
        rule = f"{info.function} {info.version} was uploaded before with other content; give it a new version"
        raise Refused(409, "version-exists", rule)
    same = before is not None and before.digest == info.digest
    base = before or Deployment(function=info.function, version="", digest="", manifest=info.manifest)
    return Deployment(
        function=info.function,
        version=info.version,
        digest=info.digest,
        manifest=info.manifest,
        workers=base.workers if wish.workers is None else wish.workers,
        match=base.match if wish.match is None else wish.match,
        enabled=base.enabled if wish.enabled is None else wish.enabled,
        versions=versions,
        size=info.size,
        uploaded_by=base.uploaded_by if same else user,
        uploaded_at=base.uploaded_at if same else now,
    )


def _held(parts: Given, name: str) -> Deployment | None:
    return next((one for one in parts.network.deployments() if one.function == name), None)


async def _body(request: Request[Any, Any, Any]) -> tuple[bytes, str | None]:
    """The wheel, and the name it came under, if any."""
    media = request.content_type[0]
    if media in _RAW:
        return await request.body(), None
    if media == _FORM:
        file = (await request.form()).get("file")
        if not isinstance(file, UploadFile):
            raise InvalidField("file", "must be the wheel, as a file of the form")
        return await file.read(), file.filename
    raise Refused(415, "unsupported-media-type", f"send the wheel as {', '.join(_RAW)} or {_FORM}, not {media!r}")
