"""Upload bundles: checked without running them, stored, and then wished for."""

from __future__ import annotations

import asyncio
import hashlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromQuery, HeaderParameter, QueryParameter
from msgspec import Struct

from contracts import clock, signatures
from contracts.bundles import BundleInfo, inspect_wheel
from contracts.errors import InvalidField, Refused
from contracts.functions import MAX_BUNDLE_BYTES, Deployment, Strategy, Upload, check_labels
from contracts.rollouts import Version, begin, replace_at_once, roll_back
from gateway.errors import Problem
from gateway.parts import Given
from gateway.security.audit import note
from gateway.security.roles import API
from gateway.security.tokens import Claims

_MULTIPART_BYTES = 64 * 1024
_RAW = ("application/octet-stream", "application/zip")
_FORM = "multipart/form-data"
_MOST_STEPS = 16


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


class Way(Struct, frozen=True, kw_only=True):
    """How a new version replaces the one that runs."""

    strategy: Strategy = Strategy()
    at_once: bool = False


@dataclass
class UploadOperation(Operation):
    """The documented form of a body that Litestar does not decode."""

    def __post_init__(self) -> None:
        wheel = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        text = Schema(type=OpenAPIType.STRING, description=f"instead of the header {signatures.HEADER}")
        form = Schema(type=OpenAPIType.OBJECT, properties={"file": wheel, "signature": text}, required=["file"])
        content = {media: OpenAPIMediaType(schema=wheel) for media in _RAW}
        self.request_body = RequestBody(
            description="A wheel", required=True, content={**content, _FORM: OpenAPIMediaType(schema=form)}
        )


def way_of(
    *,
    steps: Annotated[
        list[float] | None,
        QueryParameter(description="share of jobs for the new version at each step, over 0 to 1, repeated"),
    ] = None,
    hold: Annotated[
        float | None, QueryParameter(ge=0, le=86400, description="seconds that each step lasts at least")
    ] = None,
    paired: Annotated[
        bool, QueryParameter(description="run jobs on both versions and compare; people get the old one's results")
    ] = False,
    at_once: Annotated[bool, QueryParameter(description="replace the running version without steps")] = False,
) -> Way:
    """Read the query of an upload. Raises InvalidField."""
    return Way(strategy=strategy_of(steps, hold, paired=paired), at_once=at_once)


Asked: TypeAlias = NamedDependency[Way]


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
        dependencies={"way": Provide(way_of, sync_to_thread=False)},
        request_max_body_size=MAX_BUNDLE_BYTES + _MULTIPART_BYTES,
        responses={
            200: ResponseSpec(Deployment, description="The version was known; the deployment is as asked"),
            400: ResponseSpec(Problem, description="The bundle or its signature breaks a rule; `reason` says which"),
            403: ResponseSpec(Problem, description="The role is too low, or the author is not trusted"),
            409: ResponseSpec(Problem, description="This version was uploaded before with other content"),
        },
    )
    async def upload(
        self,
        request: Request[Any, Claims, Any],
        parts: Given,
        way: Asked,
        *,
        filename: Annotated[str | None, QueryParameter(max_length=255)] = None,
        workers: Annotated[int | None, QueryParameter(ge=0, le=64)] = None,
        match: Annotated[
            list[str] | None, QueryParameter(description="key=value, repeated; one empty value clears")
        ] = None,
        enabled: FromQuery[bool | None] = None,
        signed: Annotated[
            str | None, HeaderParameter(name=signatures.HEADER, description="the line in the wheel's .sig file")
        ] = None,
    ) -> Response[Deployment]:
        """The signature is checked before the wheel is opened."""
        wish = Wish(workers=workers, match=labels(match), enabled=enabled)
        data, name, beside = await _body(request)
        user, now = request.auth.sub, clock.utc_now()
        line = signed or beside
        signature = (await parts.network.authors()).check(
            signatures.read(line) if line else None, hashlib.sha256(data).hexdigest()
        )
        async with parts.inspecting:
            info = await asyncio.to_thread(
                inspect_wheel, data, filename=filename or name, environment=parts.environment
            )
        note(
            request, object=f"{info.function} {info.version}", detail=f"sha256={info.digest} author={signature.author}"
        )
        upload = Upload(signature=signature, by=user, at=now)
        known = any(
            one.function == info.function and info.version in one.versions for one in parts.network.deployments()
        )
        # First what can be refused, then the bundle, then the wish: a node never wants what is not there.
        deployed(_held(parts, info.function), info, wish, way, upload)
        await parts.network.store_bundle(info.digest, data)
        deployment, _ = await parts.network.change_deployment(
            info.function, lambda before: deployed(before, info, wish, way, upload)
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


def strategy_of(steps: list[float] | None, hold: float | None, *, paired: bool) -> Strategy:
    """The steps that were asked for, or those of every day. Raises InvalidField."""
    usual = Strategy(steps=[1.0], hold_s=10.0, paired=True) if paired else Strategy()
    chosen = usual.steps if steps is None else steps
    rising = all(0 < one <= 1 for one in chosen) and all(map(operator.lt, chosen, chosen[1:]))
    if not rising or not 1 <= len(chosen) <= _MOST_STEPS:
        raise InvalidField("steps", f"must be 1 to {_MOST_STEPS} rising shares, each over 0 and at most 1")
    return Strategy(steps=chosen, hold_s=usual.hold_s if hold is None else hold, paired=paired)


def deployed(before: Deployment | None, info: BundleInfo, wish: Wish, way: Way, upload: Upload) -> Deployment:
    """The deployment after an upload. Raises Refused (409) when the version has other content already.

    A new version of what runs begins a rollout; without one running there is nothing to protect. What was uploaded
    before stays known as it was then, unless somebody else has signed it now.
    """
    user, now = upload.by, upload.at
    versions = dict(before.versions) if before else {}
    if versions.setdefault(info.version, info.digest) != info.digest:
        rule = f"{info.function} {info.version} was uploaded before with other content; give it a new version"
        raise Refused(409, "version-exists", rule)
    base = before or Deployment(function=info.function, version="", digest="", manifest=info.manifest)
    wished = msgspec.structs.replace(
        base,
        workers=base.workers if wish.workers is None else wish.workers,
        match=base.match if wish.match is None else wish.match,
        enabled=base.enabled if wish.enabled is None else wish.enabled,
        versions=versions,
        uploads=_known(base.uploads, info.digest, upload),
    )
    if base.digest == info.digest:
        reason = f"{info.version} was uploaded again"
        return wished if wished.rollout is None else roll_back(wished, at=now, by=user, reason=reason)
    new = Version(
        version=info.version,
        digest=info.digest,
        manifest=info.manifest,
        size=info.size,
        uploaded_by=user,
        uploaded_at=now,
    )
    if before is None:
        return replace_at_once(wished, new, at=now, by=user, reason="the first version")
    if way.at_once or not before.wanted or not wished.wanted:
        reason = "at once" if way.at_once else "nothing was running"
        return replace_at_once(wished, new, at=now, by=user, reason=reason)
    if wished.rollout is not None and wished.rollout.digest == info.digest:
        return wished
    return begin(wished, new, way.strategy, at=now, by=user)


def _known(before: Mapping[str, Upload], digest: str, upload: Upload) -> dict[str, Upload]:
    known = before.get(digest)
    same = known is not None and known.signature.author == upload.signature.author
    return dict(before) if same else {**before, digest: upload}


def _held(parts: Given, name: str) -> Deployment | None:
    return next((one for one in parts.network.deployments() if one.function == name), None)


async def _body(request: Request[Any, Any, Any]) -> tuple[bytes, str | None, str | None]:
    """The wheel, the name it came under, if any, and the signature that came in the same form, if any."""
    media = request.content_type[0]
    if media in _RAW:
        return await request.body(), None, None
    if media == _FORM:
        form = await request.form()
        file, line = form.get("file"), form.get("signature")
        if not isinstance(file, UploadFile):
            raise InvalidField("file", "must be the wheel, as a file of the form")
        if isinstance(line, UploadFile):
            line = (await line.read()).decode(errors="replace")
        return await file.read(), file.filename, line
    raise Refused(415, "unsupported-media-type", f"send the wheel as {', '.join(_RAW)} or {_FORM}, not {media!r}")
