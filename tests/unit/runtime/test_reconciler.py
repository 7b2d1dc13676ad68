"""From what should run to what to do next."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as with_fields

from contracts.functions import Deployment, Manifest, Strategy
from contracts.rollouts import Version, begin, promote, roll_back
from runtime.reconciler import DrainWorker, Phase, Running, Slot, StartWorker, Wish, reconcile

LABELS = {"site": "lab"}
V1 = Deployment(function="ping", version="1.0.0", digest="1" * 64, manifest=Manifest(summary="x"))
V2 = with_fields(V1, version="2.0.0", digest="2" * 64)


def slot(deployment: Deployment, number: int = 0, epoch: int = 0) -> Slot:
    return Slot(deployment.function, deployment.digest, epoch, number)


def running(deployment: Deployment, phase: Phase = "ready", number: int = 0, epoch: int = 0) -> Running:
    return Running(f"{deployment.version}-{number}-{epoch}", slot(deployment, number, epoch), phase)


def drained(actions: list[StartWorker | DrainWorker]) -> dict[str, str]:
    return {action.instance: action.reason for action in actions if isinstance(action, DrainWorker)}


def started(actions: list[StartWorker | DrainWorker]) -> list[Slot]:
    return [action.slot for action in actions if isinstance(action, StartWorker)]


def test_every_missing_worker_is_started() -> None:
    actions = reconcile({"ping": Wish(with_fields(V1, workers=2))}, [], LABELS)
    assert started(actions) == [slot(V1, 0), slot(V1, 1)]


def test_what_runs_is_left_alone() -> None:
    assert not reconcile({"ping": Wish(V1)}, [running(V1)], LABELS)
    assert not reconcile({"ping": Wish(V1)}, [running(V1, "starting")], LABELS)


def test_a_slot_that_waits_or_was_given_up_is_not_filled() -> None:
    assert not reconcile({"ping": Wish(V1)}, [], LABELS, held={slot(V1)})
    assert not reconcile({"ping": Wish(V1)}, [], LABELS, given_up={slot(V1)})


def test_a_draining_worker_holds_no_slot() -> None:
    assert started(reconcile({"ping": Wish(V1)}, [running(V1, "draining")], LABELS)) == [slot(V1)]


def test_what_is_deleted_disabled_or_meant_for_others_is_drained() -> None:
    cases = {
        "the function was deleted": None,
        "the function is disabled": with_fields(V1, enabled=False),
        "not wanted on this node": with_fields(V1, match={"site": "elsewhere"}),
    }
    for reason, deployment in cases.items():
        wishes = {} if deployment is None else {"ping": Wish(deployment)}
        assert drained(reconcile(wishes, [running(V1)], LABELS)) == {"1.0.0-0-0": reason}


def test_scaling_down_drains_the_highest_slots() -> None:
    workers = [running(V1, number=number) for number in range(3)]
    assert drained(reconcile({"ping": Wish(V1)}, workers, LABELS)) == {
        "1.0.0-1-0": "scaled to 1",
        "1.0.0-2-0": "scaled to 1",
    }


def test_the_old_version_stays_until_the_new_one_is_ready() -> None:
    wishes = {"ping": Wish(V2)}
    assert reconcile(wishes, [running(V1)], LABELS) == [StartWorker(slot(V2), V2)]
    assert not reconcile(wishes, [running(V1), running(V2, "starting")], LABELS)
    assert drained(reconcile(wishes, [running(V1), running(V2)], LABELS)) == {"1.0.0-0-0": "replaced by version 2.0.0"}


def test_each_ready_new_worker_lets_one_old_worker_go() -> None:
    wishes = {"ping": Wish(with_fields(V2, workers=2))}
    workers = [running(V1), running(V1, number=1), running(V2), running(V2, "starting", 1)]
    assert list(drained(reconcile(wishes, workers, LABELS))) == ["1.0.0-1-0"]


def test_an_old_version_that_is_not_ready_yet_is_not_waited_for() -> None:
    actions = reconcile({"ping": Wish(V2)}, [running(V1, "starting")], LABELS)
    assert list(drained(actions)) == ["1.0.0-0-0"]


def test_a_restart_replaces_like_a_new_version() -> None:
    wishes = {"ping": Wish(V1, epoch=1)}
    assert reconcile(wishes, [running(V1)], LABELS) == [StartWorker(slot(V1, epoch=1), V1)]
    assert list(drained(reconcile(wishes, [running(V1), running(V1, epoch=1)], LABELS))) == ["1.0.0-0-0"]


def test_a_version_given_up_leaves_the_last_good_one_in_charge() -> None:
    wishes = {"ping": Wish(V2, fallback=V1)}
    assert not reconcile(wishes, [running(V1)], LABELS, given_up={slot(V2)})
    assert reconcile(wishes, [], LABELS, given_up={slot(V2)}) == [StartWorker(slot(V1), V1)]


ON_ITS_WAY = begin(
    with_fields(V1, versions={V1.version: V1.digest, V2.version: V2.digest}),
    Version(version=V2.version, digest=V2.digest, manifest=V2.manifest),
    Strategy(),
    at="t",
    by="admin",
)


def test_during_a_rollout_both_versions_have_all_their_workers() -> None:
    wishes = {"ping": Wish(with_fields(ON_ITS_WAY, workers=2))}
    both = [slot(version, number) for version in (V1, V2) for number in (0, 1)]
    assert started(reconcile(wishes, [], LABELS)) == both
    new = [action for action in reconcile(wishes, [], LABELS) if isinstance(action, StartWorker)][-1]
    assert (new.deployment.version, new.deployment.digest) == (V2.version, V2.digest)
    workers = [running(version, number=number) for version in (V1, V2) for number in (0, 1)]
    assert not reconcile(wishes, workers, LABELS)


def test_after_a_promotion_the_old_workers_go_and_the_new_ones_stay() -> None:
    wishes = {"ping": Wish(promote(ON_ITS_WAY, at="t", by="a", reason=""))}
    assert drained(reconcile(wishes, [running(V1), running(V2)], LABELS)) == {"1.0.0-0-0": "replaced by version 2.0.0"}
    assert not reconcile(wishes, [running(V1), running(V2, "starting")], LABELS)


def test_after_a_rollback_the_new_workers_go_and_the_old_ones_stay() -> None:
    wishes = {"ping": Wish(roll_back(ON_ITS_WAY, at="t", by="a", reason=""))}
    withdrawn = "withdrawn in favour of version 1.0.0"
    assert drained(reconcile(wishes, [running(V1), running(V2)], LABELS)) == {"2.0.0-0-0": withdrawn}
    assert drained(reconcile(wishes, [running(V1), running(V2, "starting")], LABELS)) == {"2.0.0-0-0": withdrawn}


def test_a_new_version_that_cannot_start_takes_nothing_from_the_old_one() -> None:
    wishes = {"ping": Wish(ON_ITS_WAY)}
    assert not reconcile(wishes, [running(V1)], LABELS, given_up={slot(V2)})
    assert started(reconcile(wishes, [], LABELS, held={slot(V2)})) == [slot(V1)]


@settings(max_examples=300)
@given(st.data())
def test_whatever_is_wished_is_reached_and_never_by_less_capacity(data: st.DataObject) -> None:
    versions = [
        with_fields(V1, version=f"{n}.0.0", digest=str(n) * 64, workers=data.draw(st.integers(0, 4)), enabled=enabled)
        for n, enabled in enumerate(data.draw(st.lists(st.booleans(), min_size=1, max_size=4)), start=1)
    ]
    workers: dict[str, Running] = {}
    count = 0
    for deployment in versions:
        wishes = {"ping": Wish(deployment)}
        for _ in range(data.draw(st.integers(0, 3)) if deployment is not versions[-1] else 50):
            before = _ready(workers)
            for action in reconcile(wishes, workers.values(), LABELS):
                if isinstance(action, StartWorker):
                    count += 1
                    workers[str(count)] = Running(str(count), action.slot, "starting")
                else:
                    del workers[action.instance]
            wanted = deployment.workers if deployment.enabled else 0
            assert _ready(workers) >= min(before, wanted)
            for instance, worker in list(workers.items()):
                if data.draw(st.booleans()) or deployment is versions[-1]:
                    workers[instance] = replace(worker, phase="ready")
    last = versions[-1]
    wanted = last.workers if last.enabled else 0
    assert sorted(worker.slot for worker in workers.values()) == [slot(last, number) for number in range(wanted)]


def _ready(workers: dict[str, Running]) -> int:
    return sum(worker.phase == "ready" for worker in workers.values())
