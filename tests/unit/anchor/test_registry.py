from anchor.breakers import IN_A_ROW
from anchor.registry import RECONNECT_NS, Instance, Registry
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


def test_the_capacity_of_a_place_is_that_of_its_instances_that_get_calls() -> None:
    registry = filled()
    assert registry.capacity("ping").run_ns is None
    registry.ran("ping", 100)
    everywhere = registry.capacity("ping")
    here = registry.capacity("ping", node="n1")
    busy = registry.instances("ping", node="n1")[0]
    busy.in_flight += 1
    assert (everywhere.run_ns, everywhere.runs, everywhere.free) == (100, 1, everywhere.width)
    assert 0 < here.width < everywhere.width
    assert registry.capacity("ping", node="n1").free == here.free - 1
    registry.draining(busy.id)
    assert registry.capacity("ping").width == everywhere.width - busy.limit
    assert registry.capacity("nothing").width == 0


def keyed() -> tuple[Registry, list[tuple[str, str]]]:
    registry, lost = Registry(), list[tuple[str, str]]()
    registry.on_lost = lambda instance, reason: lost.append((instance.id, reason))
    registry.ready("n1_a", "n1", card(), {}, 0, user_key="UA")
    registry.ready("n2_b", "n2", card(), {}, 0, user_key="UB")
    return registry, lost


def state(registry: Registry, instance: str) -> str:
    entry = registry.get(instance)
    return entry.state if entry else "down"


def test_the_end_of_a_connection_makes_suspect_at_once_and_down_if_none_follows() -> None:
    registry, lost = keyed()
    registry.disconnected("UA", "Client Closed", S)
    assert (state(registry, "n1_a"), state(registry, "n2_b")) == ("suspect", "up")
    registry.tick(S + RECONNECT_NS)
    assert state(registry, "n1_a") == "suspect"
    registry.tick(S + RECONNECT_NS + 1)
    assert lost == [("n1_a", "disconnected: Client Closed")]


def test_a_new_connection_lifts_the_suspicion_and_tells_that_answers_are_lost() -> None:
    registry, lost = keyed()
    back, freed = list[str](), list[str]()
    registry.on_back = lambda instance: back.append(instance.id)
    registry.on_free = freed.append
    registry.disconnected("UA", "Client Closed", S)
    registry.connected("UA", S + 1)
    registry.connected("UA", S + 2)
    registry.tick(2 * S)
    assert state(registry, "n1_a") == "up"
    assert (back, freed, lost) == (["n1_a"], ["ping"], [])


def test_a_heartbeat_proves_a_connection_unless_it_was_sent_before_the_end() -> None:
    registry, _ = keyed()
    registry.disconnected("UA", "x", S)
    assert registry.heard("n1_a", "up", 2, S + 1)
    assert state(registry, "n1_a") == "suspect"
    assert registry.heard("n1_a", "up", 2, S + S // 2)
    assert state(registry, "n1_a") == "up"
    registry.tick(2 * S)
    assert state(registry, "n1_a") == "up"


def test_a_revoked_key_is_down_at_once() -> None:
    registry, lost = keyed()
    registry.disconnected("UA", "Credentials Revoked", S, final=True)
    assert lost == [("n1_a", "disconnected: Credentials Revoked")]


def test_a_worker_that_claims_anothers_key_only_shares_its_fate() -> None:
    registry, lost = keyed()
    registry.ready("n3_liar", "n3", card(), {}, 0, user_key="UA")
    registry.disconnected("UA", "x", S)
    registry.tick(2 * S)
    assert sorted(name for name, _ in lost) == ["n1_a", "n3_liar"]
    assert state(registry, "n2_b") == "up"


def test_the_announced_key_replaces_the_one_a_worker_told_itself() -> None:
    registry, _ = keyed()
    registry.ready("n1_a", "n1", card(), {}, 0, user_key="UX")
    assert not registry.disconnected("UA", "x", S)
    assert [instance.id for instance in registry.disconnected("UX", "x", S)] == ["n1_a"]


def test_what_left_without_its_runtimes_word_comes_back_when_it_proves_itself() -> None:
    registry, _ = keyed()
    registry.lost("n1_a", "worker does not listen", S, final=False)
    assert registry.was_down("n1_a")
    assert not registry.heard("n1_a", "up", 2, 2 * S)
    assert not registry.ready("n1_a", "n1", card(), {}, 2 * S)
    assert registry.ready("n1_a", "n1", card(), {}, 2 * S, proved=True)
    assert state(registry, "n1_a") == "up"


def test_what_its_runtime_stopped_never_comes_back() -> None:
    registry, _ = keyed()
    registry.lost("n1_a", "stopped", S)
    registry.lost("n1_a", "disconnected: Client Closed", S, final=False)
    assert not registry.was_down("n1_a")
    assert registry.ready("n1_a", "n1", card(), {}, 2 * S, proved=True)
    assert state(registry, "n1_a") == "down"


def test_a_heartbeat_from_before_the_drain_does_not_undo_it() -> None:
    registry, _ = keyed()
    registry.draining("n1_a")
    registry.heard("n1_a", "up", 2, S)
    assert state(registry, "n1_a") == "draining"


def test_stats_tell_of_load_and_draining_but_not_of_life() -> None:
    registry, lost = keyed()
    registry.tick(3 * S)
    registry.stats("n1_a", limit=1, load=1, draining=False, now_ns=3 * S)
    assert state(registry, "n1_a") == "suspect"
    entry = registry.get("n1_a")
    assert entry is not None
    assert entry.limit == 1
    registry.stats("n1_a", limit=1, load=1, draining=True, now_ns=3 * S)
    assert state(registry, "n1_a") == "draining"
    registry.tick(6 * S)
    assert "n1_a" in [name for name, _ in lost]


def test_load_of_others_counts_when_two_reports_say_so() -> None:
    registry, _ = keyed()
    entry = registry.get("n1_a")
    assert entry is not None
    entry.in_flight = 1
    registry.heard("n1_a", "up", 2, S, load=3)
    assert entry.elsewhere == 0
    registry.heard("n1_a", "up", 2, S, load=3)
    assert entry.elsewhere == 2
    registry.heard("n1_a", "up", 2, S, load=1)
    assert entry.elsewhere == 0


def test_this_anchors_own_absence_speaks_against_no_connection() -> None:
    registry, lost = keyed()
    registry.disconnected("UA", "x", S)
    registry.forgive_silence(2 * S)
    registry.tick(3 * S)
    assert state(registry, "n1_a") == "up"
    assert not lost


def faults(registry: Registry, instance: str, now: int, times: int = IN_A_ROW) -> None:
    entry = registry.get(instance)
    assert entry is not None
    for _ in range(times):
        registry.faulted(entry, began_ns=now, now_ns=now)


def test_an_instance_that_faults_is_ejected_shown_and_tried_again() -> None:
    registry, _ = keyed()
    freed: list[str] = []
    faults(registry, "n1_a", S)
    entry = registry.get("n1_a")
    assert entry is not None
    assert entry.free(S) == 0
    assert registry.open_breakers() == ["n1_a"]
    (shown,) = registry.routed()
    assert (shown.instance, shown.breaker, shown.ejected, shown.state) == ("n1_a", "open", True, "up")
    registry.on_free = freed.append
    for at in range(2, 45):
        for name in ("n1_a", "n2_b"):
            registry.heard(name, "up", 2, at * S)
        registry.tick(at * S)
    assert freed == ["ping"]
    assert entry.free(45 * S) == 1
    registry.succeeded(entry, queue_ns=0, run_ns=1, began_ns=45 * S, now_ns=45 * S)
    assert entry.free(45 * S) == 2
    assert not registry.routed()


def test_when_the_last_healthy_instance_goes_the_ejected_one_is_used() -> None:
    registry, _ = keyed()
    faults(registry, "n1_a", S)
    entry = registry.get("n1_a")
    assert entry is not None
    seen = [entry.ejected]
    registry.disconnected("UB", "x", S)
    seen.append(entry.ejected)
    registry.connected("UB", S)
    seen.append(entry.ejected)
    registry.lost("n2_b", "killed", S)
    seen.append(entry.ejected)
    assert seen == [True, False, True, False]


def test_pressure_cuts_the_limit_and_faults_do_not() -> None:
    registry, _ = keyed()
    entry = registry.get("n1_a")
    assert entry is not None
    faults(registry, "n1_a", S, times=1)
    registry.pressed(entry, 10, S, full=False)
    assert entry.limit == 2
    registry.pressed(entry, 10, S, full=True)
    assert entry.limit == 1.7
    assert entry.free(S + 9) == 0
    assert entry.free(S + 10) == 1
    assert entry.breaker.closed


def test_when_nobody_listens_a_heartbeat_is_no_excuse() -> None:
    registry, lost = keyed()
    registry.unheard("n1_a", "worker does not listen", S)
    assert state(registry, "n1_a") == "suspect"
    registry.heard("n1_a", "up", 2, S + S // 2)
    assert state(registry, "n1_a") == "suspect"
    registry.tick(2 * S)
    assert lost == [("n1_a", "worker does not listen")]


def test_between_two_connections_nobody_listens_and_nothing_is_lost() -> None:
    """A bug once: a call in that moment cost all the calls that the worker had in hand."""
    registry, lost = keyed()
    registry.unheard("n1_a", "worker does not listen", S)
    registry.disconnected("UA", "Client Closed", S)
    registry.connected("UA", S)
    assert state(registry, "n1_a") == "up"
    registry.unheard("n1_a", "worker does not listen", S)
    registry.answered("n1_a", S + S // 2)
    registry.tick(2 * S)
    assert state(registry, "n1_a") == "up"
    assert not lost
