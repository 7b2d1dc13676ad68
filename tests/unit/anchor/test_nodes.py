import pytest

from anchor.admission import Schemas, admit
from anchor.nodes import Nodes
from anchor.registry import Registry
from contracts import clock
from contracts.errors import Refused
from contracts.functions import Deployment, Manifest
from contracts.jobs import JobRequest
from contracts.modules import Health, State
from tests.unit.anchor.builders import card

S = 1_000_000_000
DEPLOYED = Deployment(function="ping", version="1.0.0", digest="d1", manifest=Manifest(summary="x"))


def beat(node: str, state: State, site: str = "fra") -> Health:
    return Health(instance=node, kind="runtime", state=state, at="", node=node, labels={"site": site})


def registry(*draining: str) -> Registry:
    found = Registry()
    for node, site in (("n1", "fra"), ("n2", "ams"), ("n3", "ams")):
        found.ready(f"{node}_a", node, card(), {"site": site}, 0)
        found.nodes.heard(beat(node, "draining" if node in draining else "up", site), clock.monotonic_ns())
    return found


def place(found: Registry, **changes: object) -> str:
    request = JobRequest(**{"function": "ping", "params": {"target": "x"}, **changes})  # type: ignore[arg-type]
    return admit(request, found, Schemas()).place


def refusal(found: Registry, **changes: object) -> Refused:
    with pytest.raises(Refused) as refused:
        place(found, **changes)
    return refused.value


def test_a_node_drains_for_as_long_as_its_runtime_says_so() -> None:
    nodes = Nodes()
    nodes.heard(beat("n1", "draining"), 0)
    assert nodes.draining(4 * S) == {"n1": {"site": "fra"}}
    assert nodes.draining(6 * S) == {}, "a silent one is down, not draining"
    nodes.heard(beat("n1", "up"), 7 * S)
    assert nodes.draining(7 * S) == {}


def test_a_job_pinned_to_a_draining_node_is_refused_with_a_time_to_come_back() -> None:
    refused = refusal(registry("n1"), node="n1")
    assert (refused.code, refused.reason, refused.retry_after) == (503, "node-draining", 10.0)
    assert refused.message == "node: n1 is draining and takes no new jobs; run it elsewhere, or try again later"


def test_also_when_its_workers_are_gone_already() -> None:
    found = registry("n1")
    found.lost("n1_a", "the node is draining", 0)
    assert refusal(found, node="n1").code == 503
    assert refusal(found, match={"site": "fra"}).code == 503


def test_labels_mean_nodes_that_do_not_drain() -> None:
    assert {place(registry("n2"), match={"site": "ams"}) for _ in range(20)} == {"n3"}
    assert refusal(registry("n2", "n3"), match={"site": "ams"}).reason == "node-draining"


def test_nobody_else_is_disturbed() -> None:
    assert place(registry("n1")) == "any"
    assert place(registry("n1"), node="n2") == "n2"


def test_a_deleted_function_takes_no_jobs_while_its_workers_leave() -> None:
    found = registry()
    found.set_deployment("ping", DEPLOYED)
    found.set_deployment("ping", None)
    for node in ("n1", "n2", "n3"):
        found.draining(f"{node}_a")
    assert refusal(found).code == 404


def test_an_external_module_may_serve_under_the_name_of_a_deleted_function() -> None:
    found = registry()
    found.set_deployment("ping", DEPLOYED)
    found.set_deployment("ping", None)
    assert place(found) == "any"
