import msgspec
import pytest

from anchor.admission import Schemas, admit
from anchor.registry import Registry
from contracts import clock
from contracts.errors import InvalidField, Refused
from contracts.functions import Deployment, Manifest
from contracts.jobs import JobRequest
from tests.unit.anchor.builders import card


def registry() -> Registry:
    found = Registry()
    found.ready("n1_a", "n1", card(), {"site": "fra"}, 0)
    found.ready("n2_b", "n2", card(), {"site": "ams"}, 0)
    return found


def deployment(*, enabled: bool = True) -> Deployment:
    return Deployment(function="ping", version="1.0.0", digest="d1", manifest=Manifest(summary="x"), enabled=enabled)


def request(**changes: object) -> JobRequest:
    return JobRequest(**{"function": "ping", "params": {"target": "x"}, **changes})  # type: ignore[arg-type]


def test_a_sound_request_becomes_a_job_with_a_place_and_a_deadline() -> None:
    job = admit(request(deadline_s=30.0), registry(), Schemas(), client="admin")
    assert job.place == "any"
    assert clock.epoch_ns(job.deadline) - clock.epoch_ns(job.accepted) == 30_000_000_000
    assert job.client == "admin"


def test_labels_are_resolved_to_a_node_at_admission() -> None:
    assert admit(request(match={"site": "ams"}), registry(), Schemas()).place == "n2"
    assert admit(request(node="n1"), registry(), Schemas()).place == "n1"


def test_the_least_loaded_matching_node_is_taken() -> None:
    busy = registry()
    busy.ready("n3_c", "n3", card(), {"site": "ams"}, 0)
    instance = busy.get("n2_b")
    assert instance is not None
    instance.in_flight = 2
    assert {admit(request(match={"site": "ams"}), busy, Schemas()).place for _ in range(20)} == {"n3"}


@pytest.mark.parametrize(
    ("changes", "code", "reason", "says"),
    [
        ({"function": "nope"}, 404, "unknown-function", "nope"),
        ({"function": "No.pe"}, 400, "invalid-field", "function"),
        ({"params": {}}, 400, "bad-params", "target"),
        ({"params": {"target": "x", "count": 0}}, 400, "bad-params", "params.count"),
        ({"params": {"target": "x", "cuont": 1}}, 400, "bad-params", "params.cuont: .*target, count"),
        ({"node": "n9"}, 400, "no-such-place", "nodes that do: n1, n2"),
        ({"node": "N 9"}, 400, "invalid-field", "node"),
        ({"match": {"site": "nyc"}}, 400, "no-such-place", "match"),
        ({"match": {"a b": "c"}}, 400, "invalid-field", "match"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_that_breaks_a_rule_is_refused_by_name(
    changes: dict[str, object], code: int, reason: str, says: str
) -> None:
    with pytest.raises(Refused, match=says) as caught:
        admit(request(**changes), registry(), Schemas())
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_a_broken_parameter_is_named_by_its_path() -> None:
    with pytest.raises(InvalidField) as caught:
        admit(request(params={"target": "x", "count": 99}), registry(), Schemas())
    assert caught.value.field == "params.count"


def test_a_disabled_function_takes_no_job() -> None:
    found = registry()
    found.set_deployment("ping", deployment(enabled=False))
    with pytest.raises(Refused) as caught:
        admit(request(), found, Schemas())
    assert caught.value.code == 409


def test_a_function_whose_workers_are_all_restarting_still_takes_jobs() -> None:
    found = registry()
    found.set_deployment("ping", deployment())
    for instance in ("n1_a", "n2_b"):
        found.lost(instance, "killed", 0)
    assert admit(request(), found, Schemas()).place == "any"


def test_a_function_nobody_has_served_yet_is_to_be_tried_again() -> None:
    found = Registry()
    found.set_deployment("ping", deployment())
    with pytest.raises(Refused) as caught:
        admit(request(), found, Schemas())
    assert (caught.value.code, caught.value.retry_after) == (503, 1.0)


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "http://127.0.0.1:9/x"}, {"$ref": "file:///etc/passwd"}, {"type": 5}, {"pattern": "("}],
    ids=["http", "file", "type", "pattern"],
)
def test_a_schema_that_is_unsound_or_points_elsewhere_is_refused_and_fetches_nothing(
    schema: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connects(*_args: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("socket.socket.connect", connects)
    found = Registry()
    found.ready("n1_a", "n1", msgspec.structs.replace(card(), params_schema=schema), {}, 0)
    with pytest.raises(Refused) as caught:
        admit(request(), found, Schemas())
    assert (caught.value.code, caught.value.reason) == (409, "bad-schema")


def test_a_schema_is_compiled_for_the_card_and_not_for_the_digest_it_claims() -> None:
    schemas, found = Schemas(), registry()
    admit(request(), found, schemas)
    strict = msgspec.structs.replace(card("other"), params_schema={"type": "object", "maxProperties": 0})
    found.ready("n1_o", "n1", strict, {}, 0)
    with pytest.raises(InvalidField):
        admit(request(function="other"), found, schemas)
    admit(request(), found, schemas)


def test_a_draining_node_is_taken_only_when_there_is_no_other() -> None:
    found = registry()
    found.ready("n3_c", "n3", card(), {"site": "ams"}, 0)
    found.draining("n2_b")
    assert {admit(request(match={"site": "ams"}), found, Schemas()).place for _ in range(20)} == {"n3"}
    found.draining("n3_c")
    assert admit(request(match={"site": "ams"}), found, Schemas()).place in {"n2", "n3"}
