from __future__ import annotations

from contracts.modules import Announcement, WorkerEvent
from gateway.cli.scenarios.timeline import Timeline, WorkerLanes


def news(instance: str, event: WorkerEvent) -> Announcement:
    node = instance.partition("_")[0]
    return Announcement(node=node, instance=instance, function="nap", version="1.0.0", digest="d", event=event, at="")


def test_workers_of_a_node_get_a_lane_each() -> None:
    lanes = WorkerLanes()
    assert lanes.of(news("n1_a", "started")) == "n1 nap #1"
    assert lanes.of(news("n1_b", "started")) == "n1 nap #2"
    assert lanes.of(news("n2_c", "started")) == "n2 nap #1"
    assert lanes.of(news("n1_a", "ready")) == "n1 nap #1"


def test_who_replaces_a_worker_takes_its_lane_over() -> None:
    lanes = WorkerLanes()
    lanes.of(news("n1_a", "started"))
    lanes.of(news("n1_b", "started"))
    assert lanes.of(news("n1_a", "failed")) == "n1 nap #1"
    assert lanes.known("n1_a") is None
    assert lanes.of(news("n1_c", "started")) == "n1 nap #1"


def test_the_workers_of_a_runtime_that_is_gone_give_their_lanes_up() -> None:
    lanes = WorkerLanes()
    lanes.of(news("n1_a", "started"))
    lanes.of(news("n2_b", "started"))
    assert lanes.free("n1") == {"n1_a": "n1 nap #1"}
    assert lanes.known("n1_a") is None
    assert lanes.known("n2_b") == "n2 nap #1"


def test_marks_are_kept_in_the_order_they_were_made() -> None:
    timeline = Timeline()
    timeline.mark("a", "start")
    timeline.mark("a", "kill", "why")
    timeline.job("nap")
    assert [(one.lane, one.kind, one.text) for one in timeline.marks] == [("a", "start", ""), ("a", "kill", "why")]
    assert timeline.last("a", "kill") >= timeline.marks[0].at
    assert len(timeline.served["nap"]) == 1
