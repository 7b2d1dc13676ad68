from contracts.functions import Limits
from contracts.modules import Announcement, Card, Health, State, WorkerEvent
from gateway.registry import FORGET_AFTER_S, KEEP_AFTER_S, Registry

S = 1_000_000_000
NOW = 1000 * S
CARD = Card(
    function="echo",
    version="1.0.0",
    digest="d",
    summary="s",
    limits=Limits(),
    needs=[],
    params_schema={},
    result_schema={},
    box="none",
)


def announcement(event: WorkerEvent, *, instance: str = "n1_a", node: str = "n1") -> Announcement:
    card = CARD if event == "ready" else None
    return Announcement(
        node=node, instance=instance, function="echo", version="1.0.0", digest="d", event=event, at="", card=card
    )


def health(instance: str = "n1_a", *, state: State = "up") -> Health:
    return Health(instance=instance, kind="worker", state=state, at="", function="echo")


def state_of(registry: Registry, at_ns: int) -> State:
    return registry.modules(at_ns)[0].state


def test_a_worker_goes_from_starting_to_forgotten() -> None:
    registry = Registry()
    registry.announced("n1", announcement("started"), NOW)
    assert state_of(registry, NOW) == "starting"
    registry.announced("n1", announcement("ready"), NOW + 1)
    registry.beat("n1_a", health(), NOW + 2)
    assert state_of(registry, NOW + S) == "up"
    assert state_of(registry, NOW + 3 * S) == "suspect"
    assert state_of(registry, NOW + 6 * S) == "down"
    assert registry.modules(NOW + int((FORGET_AFTER_S + 1) * S)) == []
    assert registry.card("echo", "1.0.0") == CARD


def test_what_the_runtime_says_counts_before_heartbeats() -> None:
    registry = Registry()
    registry.announced("n1", announcement("ready"), NOW)
    registry.beat("n1_a", health(), NOW + S)
    registry.announced("n1", announcement("draining"), NOW + S)
    assert state_of(registry, NOW + S) == "draining"
    assert registry.modules(NOW + S)[0].box == "none"
    registry.announced("n1", announcement("failed"), NOW + S)
    assert state_of(registry, NOW + S) == "down"


def test_older_news_change_nothing() -> None:
    registry = Registry()
    registry.announced("n1", announcement("stopped"), NOW + 2)
    registry.announced("n1", announcement("ready"), NOW + 1)
    registry.beat("n1_a", health(state="draining"), NOW + 2)
    registry.beat("n1_a", health(), NOW + 1)
    found = registry.modules(NOW + 3)[0]
    assert found.last_event == "stopped"
    assert found.health is not None
    assert found.health.state == "draining"


def test_nobody_speaks_for_another() -> None:
    registry = Registry()
    registry.announced("n2", announcement("ready"), NOW)
    registry.announced("n1", announcement("ready", instance="n2_a"), NOW)
    registry.beat("n3", health(), NOW)
    assert registry.modules(NOW) == []


def test_instances_of_one_function_are_listed_alone() -> None:
    registry = Registry()
    registry.announced("n1", announcement("ready"), NOW)
    registry.beat("anchor1", Health(instance="anchor1", kind="anchor", state="up", at=""), NOW)
    assert [module.instance for module in registry.modules(NOW)] == ["anchor1", "n1_a"]
    assert [module.instance for module in registry.modules(NOW, function="echo")] == ["n1_a"]


def test_who_is_gone_for_good_takes_no_memory() -> None:
    registry = Registry()
    registry.announced("n1", announcement("ready"), NOW)
    registry.beat("anchor1", Health(instance="anchor1", kind="anchor", state="up", at=""), NOW + 60 * S)
    registry.prune(NOW + int((KEEP_AFTER_S + 1) * S))
    assert list(registry._seen) == ["anchor1"]


def test_who_comes_back_after_an_outage_is_still_known() -> None:
    registry = Registry()
    registry.announced("n1", announcement("ready"), NOW)
    later = NOW + int((FORGET_AFTER_S + 1) * S)
    registry.prune(later)
    assert registry.modules(later) == []
    registry.beat("n1_a", health(), later)
    assert [(module.state, module.digest) for module in registry.modules(later)] == [("up", "d")]
