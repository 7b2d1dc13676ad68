"""What is counted for and against a version on its way."""

from anchor.calls import NotListening, Served, WorkerLost
from anchor.evidence import Counting
from anchor.instance import Instance
from anchor.limiter import Limiter
from contracts.errors import MmnError, Refused
from contracts.functions import Deployment, Manifest, Rollout
from contracts.jobs import CallReply
from tests.unit.anchor.builders import card

OLD, NEW = "0" * 64, "1" * 64
ROLLOUT = Rollout(id="r", version="2.0.0", digest=NEW, manifest=Manifest(summary="x"))
WISH = Deployment(function="ping", version="1.0.0", digest=OLD, manifest=ROLLOUT.manifest, rollout=ROLLOUT)
DONE = Deployment(function="ping", version="2.0.0", digest=NEW, manifest=ROLLOUT.manifest)


def instance(digest: str, name: str = "n1_a") -> Instance:
    return Instance(name, "n1", card(digest=digest), {}, 0, Limiter(4))


def served(failure: str | None = None) -> Served:
    return Served(CallReply(job="j", instance="n1_a", failure=failure), queue_ns=0, run_ns=5_000_000)


def counting(source: str = "a") -> Counting:
    found = Counting(source)
    found.follow("ping", WISH)
    return found


def test_each_version_has_its_own_count_and_others_have_none() -> None:
    found = counting()
    found.succeeded(instance(OLD), served(), 6_000_000)
    found.succeeded(instance(NEW), served("timeout"), 9_000_000)
    found.succeeded(instance("2" * 64), served(), 1)
    total = found.total("ping")
    assert total is not None
    assert (total.old.calls, total.new.calls, total.old.failures, total.new.failures) == (1, 1, 0, 1)
    assert list(total.new.run.values()) == [1]
    # What a call took beyond the function's own time is what it waited.
    assert max(total.new.wait) > max(total.old.wait)


def test_refusals_count_against_a_version_but_pressure_and_haste_do_not() -> None:
    found = counting()
    blamed = [Refused(code, "x", "it says") for code in (400, 413, 415, 424, 500, 504)]
    blameless: list[MmnError] = [Refused(code, "x", "it says") for code in (408, 429, 503)]
    for error in [*blamed, *blameless, NotListening("gone")]:
        found.failed(instance(NEW), error)
    total = found.total("ping")
    assert total is not None
    assert (total.new.calls, total.new.faults, total.new.last_fault) == (6, 6, "it says")


def test_the_death_of_a_worker_is_one_fault_however_many_calls_it_takes_with_it() -> None:
    found = counting()
    for name in ("n1_a", "n1_a", "n1_a", "n1_b"):
        found.failed(instance(NEW, name), WorkerLost("killed"))
    total = found.total("ping")
    assert total is not None
    assert (total.new.calls, total.new.faults) == (2, 2)


def test_what_others_saw_is_added_each_once_and_outlives_them() -> None:
    here, there = counting("a"), counting("b")
    there.failed(instance(NEW), Refused(500, "x", "boom"))
    here.heard(there.own())
    there.failed(instance(NEW), Refused(500, "x", "boom"))
    for _ in range(3):
        here.heard(there.own())
        here.heard(here.own())
    total = here.total("ping")
    assert total is not None
    assert (total.new.calls, total.new.faults) == (2, 2)


def test_nothing_is_kept_of_a_rollout_that_is_over() -> None:
    found = counting()
    told = found.own()
    found.follow("ping", DONE)
    found.heard(told)
    found.succeeded(instance(NEW), served(), 6_000_000)
    assert found.total("ping") is None
    assert not found.own()


def test_only_a_fault_of_the_new_version_asks_for_a_look() -> None:
    found, looks = counting(), list[bool]()
    found.on_fault = lambda: looks.append(True)
    found.failed(instance(OLD), Refused(500, "x", "boom"))
    assert not looks
    found.failed(instance(NEW), Refused(500, "x", "boom"))
    assert looks == [True]
