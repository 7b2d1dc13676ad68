"""May this request become a job, and where will it wait? Decided here, before anything is stored.

Pure: it looks at the registry and at compiled schemas, and either returns a `Job` or raises a
`Refused` that names the field and the rule.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from anchor.registry import Instance, Registry
from contracts import clock, codec, functions, targets
from contracts.errors import InvalidField, Refused
from contracts.jobs import Job, JobRequest, job_id_of, new_job_id
from contracts.modules import Card
from contracts.subjects import ANY_PLACE

_NS = 1_000_000_000
_DRAINING_S = 10.0


def _refuse(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri[:200]}")


class Schemas:
    """Compiled parameter schemas, one per function."""

    def __init__(self) -> None:
        self._compiled: dict[str, tuple[dict[str, Any], Any, tuple[targets.Field, ...]]] = {}

    def _validator(self, card: Card) -> Any:
        """The compiled schema of this very card: a digest is only what a worker says of itself."""
        schema, validator, _ = self._compiled.get(card.function, (None, None, ()))
        if schema is not card.params_schema:
            try:
                # Schemas come from workers: without this, a reference would be fetched from wherever it points.
                validator = jsonschema_rs.validator_for(card.params_schema, retriever=_refuse)
            except (ValueError, jsonschema_rs.ReferencingError) as error:
                rule = f"the parameter schema of {card.function} cannot be used: {str(error)[:200]}"
                raise Refused(409, "bad-schema", f"function: {rule}") from error
            self._compiled[card.function] = (card.params_schema, validator, targets.fields(card.params_schema))
        return validator

    def targets(self, request: JobRequest) -> list[targets.Target]:
        """Whom a request that was just checked would measure."""
        compiled = self._compiled.get(request.function)
        return targets.read(compiled[2], request.params) if compiled else []

    def check(self, card: Card, params: Mapping[str, Any]) -> None:
        """Raise InvalidField for the first parameter that breaks the function's schema."""
        validator = self._validator(card)
        if validator.is_valid(params):
            return
        known = card.params_schema.get("properties", {})
        error = next(iter(validator.iter_errors(dict(params))), None)
        if error is None:
            return
        path = ".".join(["params", *(str(part) for part in error.instance_path)])
        stray = next((name for name in params if name not in known), None)
        if path == "params" and stray is not None and card.params_schema.get("additionalProperties") is False:
            rule = f"is not a parameter of {card.function}; there are: {', '.join(known) or 'none'}"
            raise InvalidField(f"params.{stray[:64]}", rule, reason="bad-params")
        raise InvalidField(path, str(error.message), reason="bad-params")


def admit(request: JobRequest, registry: Registry, schemas: Schemas, *, client: str = "") -> Job:
    """Turn a request into a job with a place and a deadline, or raise Refused."""
    function = functions.check_name(request.function)
    if not registry.exists(function):
        raise Refused(404, "unknown-function", f"function: there is no function {function!r}; deploy it first")
    if not registry.enabled(function):
        raise Refused(409, "disabled", f"function: {function} is disabled; enable it first")
    card = registry.card(function)
    if card is None:
        raise Refused(
            503, "no-instance", f"function: no worker of {function} has been ready yet; try again", retry_after=1.0
        )
    codec.check_plain(request.params, at="params")
    schemas.check(card, request.params)
    place = _place(request, registry)
    now = clock.wall_ns()
    return Job(
        id=job_id_of(client, request.key) if request.key is not None else new_job_id(),
        request=request,
        place=place,
        accepted=clock.rfc3339(now),
        deadline=clock.rfc3339(now + int(request.deadline_s * _NS)),
        client=client,
    )


def _place(request: JobRequest, registry: Registry) -> str:
    """Resolve node and labels now, so that the queue needs to know places only."""
    if request.node is None and not request.match:
        return ANY_PLACE
    draining = registry.nodes.draining(clock.monotonic_ns())
    serving = registry.instances(request.function)
    if request.node is not None:
        node = functions.check_node(request.node)
        if node in draining:
            raise _draining(f"node: {node} is draining")
        serving = [instance for instance in serving if instance.node == node]
        if not serving:
            raise InvalidField("node", _nobody(request, registry, f"{node} runs no worker"), reason="no-such-place")
    if request.match:
        functions.check_labels(request.match, at="match")
        serving = [instance for instance in serving if _matches(instance.labels, request.match)]
        staying = [instance for instance in serving if instance.node not in draining]
        if not staying and (serving or any(_matches(labels, request.match) for labels in draining.values())):
            raise _draining("match: every node with these labels is draining")
        serving = staying
        if not serving:
            rule = _nobody(request, registry, "no node with these labels runs a worker")
            raise InvalidField("match", rule, reason="no-such-place")
    loads: dict[str, list[Instance]] = {}
    # A draining node looks lighter and lighter; it is taken only when there is no other.
    for instance in [instance for instance in serving if instance.state == "up"] or serving:
        loads.setdefault(instance.node, []).append(instance)
    lightest = min(_load(group) for group in loads.values())
    return random.choice([node for node, group in loads.items() if _load(group) == lightest])


def _load(group: list[Instance]) -> float:
    return sum(instance.in_flight for instance in group) / sum(instance.limit for instance in group)


def _draining(what: str) -> Refused:
    message = f"{what} and takes no new jobs; run it elsewhere, or try again later"
    return Refused(503, "node-draining", message, retry_after=_DRAINING_S)


def _matches(labels: Mapping[str, str], match: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in match.items())


def _nobody(request: JobRequest, registry: Registry, what: str) -> str:
    nodes = sorted({instance.node for instance in registry.instances(request.function)})
    return f"{what} of {request.function}; nodes that do: {', '.join(nodes) or 'none'}"
