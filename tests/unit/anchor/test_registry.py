from anchor.registry import Instance, Registry
from tests.unit.anchor.builders import card

S = 1_000_000_000


def filled() -> Registry:
    registry = Registry()
    registry.ready("n1_a", "n1", card(), {"site": "fra"}, 0)
    registry.ready("n2_b", "n2", card(), {"site": "ams"}, 0)
    return registry


def test_an_instance_is_suspect_after_silence_and_then_lost() -> None:
    registry, lost = filled(), list[tuple[str, str]]()
    registry.on_lost = lambda instance, reason: lost.append((instance.id, reason))
    registry.heard("n2_b", "up", 2, 4 * S)
    registry.tick(3 * S)
    assert registry.instances("ping", node="n1")[0].state == "suspect"
    registry.tick(6 * S)
    assert [name for name, _ in lost] == ["n1_a"]
    assert "no heartbeat" in lost[0][1]
    assert [instance.id for instance in registry.instances("ping")] == ["n2_b"]


def test_a_heartbeat_lifts_suspicion_and_tells_of_free_slots() -> None:
    registry, freed = filled(), list[str]()
    registry.on_free = freed.append
    registry.tick(3 * S)
    assert registry.heard("n1_a", "up", 2, 3 * S)
    assert registry.instances("ping", node="n1")[0].state == "up"
    assert freed == ["ping"]


def test_an_unknown_heartbeat_asks_who_it_is_but_a_late_one_of_the_dead_does_not() -> None:
    registry = filled()
    assert not registry.heard("n3_c", "up", 1, 0)
    registry.lost("n1_a", "killed", 0)
    assert registry.heard("n1_a", "up", 2, 1)
    registry.ready("n1_a", "n1", card(), {}, 2)
    assert registry.get("n1_a") is None


def test_the_card_outlives_the_workers() -> None:
    registry = filled()
    for instance in ("n1_a", "n2_b"):
        registry.lost(instance, "stopped", 0)
    assert registry.card("ping") is not None
    assert not registry.exists("ping")


def test_a_heartbeat_can_lower_the_limit_but_never_raise_it_over_the_bundles_cap() -> None:
    registry = filled()
    registry.heard("n1_a", "up", 1, 0)
    assert registry.get("n1_a") is not None
    instance = registry.get("n1_a")
    assert isinstance(instance, Instance)
    assert instance.limit == 1
    registry.heard("n1_a", "up", 99, 0)
    assert instance.limit == 2


def test_silence_is_forgiven_after_the_anchor_itself_was_away() -> None:
    registry = filled()
    registry.forgive_silence(100 * S)
    registry.tick(101 * S)
    assert len(registry.instances("ping")) == 2


def test_the_expected_wait_grows_with_what_is_ahead() -> None:
    registry = filled()
    assert registry.expected_wait_ns("ping", 10) is None
    registry.ran("ping", 100)
    assert registry.expected_wait_ns("ping", 0) == 0
    assert registry.expected_wait_ns("ping", 7) == 100
    assert registry.expected_wait_ns("nothing", 7) is None
