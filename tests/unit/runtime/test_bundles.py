"""Bundles on a node: fetched, checked, unpacked once."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.js.errors import ObjectNotFoundError

from contracts.bus import Bus
from contracts.functions import Deployment, Manifest
from runtime import bundles
from runtime.authors import Authors
from runtime.bundles import Bundles, Kept, NoBundle, surplus
from tests.kit.authors import TRUSTED, uploaded
from tests.kit.wheels import build_wheel

WHEEL = build_wheel("ping", "1.2.0", code='"""Nothing."""\n')
DIGEST = hashlib.sha256(WHEEL).hexdigest()


@dataclass
class Store:
    """An object store in memory that can fail first."""

    objects: dict[str, bytes]
    failures: int = 0
    reads: list[str] = field(default_factory=list)

    async def object_store(self, _name: str) -> "Store":
        if self.failures:
            self.failures -= 1
            raise TimeoutError
        return self

    async def get_info(self, name: str) -> Any:
        if name not in self.objects:
            raise ObjectNotFoundError
        return SimpleNamespace(size=len(self.objects[name]))

    async def get(self, name: str) -> Any:
        self.reads.append(name)
        return SimpleNamespace(data=self.objects[name])


def deployment(digest: str = DIGEST, version: str = "1.2.0") -> Deployment:
    signed = uploaded(digest) if len(digest) == len(DIGEST) else {}
    return Deployment(function="ping", version=version, digest=digest, manifest=Manifest(summary="x"), uploads=signed)


def bundles_of(store: Store, folder: Path) -> Bundles:
    authors = Authors([TRUSTED], None, third_parties=False)
    return Bundles(cast("Bus", SimpleNamespace(js=store)), folder / "bundles", authors)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "_PAUSE_S", 0.0)


async def test_a_bundle_is_unpacked_once_read_only_and_with_bytecode(tmp_path: Path) -> None:
    store = Store({DIGEST: WHEEL}, failures=2)
    bundle = await bundles_of(store, tmp_path).get(deployment())
    assert bundle.info.entry == "ping:measure"
    module = bundle.code / "ping" / "__init__.py"
    assert module.stat().st_mode & 0o777 == 0o444
    assert module.parent.stat().st_mode & 0o777 == 0o555
    assert list((bundle.code / "ping" / "__pycache__").glob("*.pyc"))
    # Another runtime over the same folder finds it there.
    assert await bundles_of(store, tmp_path).get(deployment()) == bundle
    assert store.reads == [DIGEST]
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [DIGEST]


@pytest.mark.parametrize(
    ("objects", "wish", "said", "for_good"),
    [
        ({}, deployment(), "is not in the store", False),
        ({DIGEST: WHEEL + b"x"}, deployment(), "has another content", True),
        ({DIGEST: WHEEL}, deployment(version="1.3.0"), "is ping 1.2.0, not ping 1.3.0", True),
        ({"0" * 64: b""}, deployment("../../etc"), "not a digest", True),
        (
            {hashlib.sha256(b"PK\x03\x04").hexdigest(): b"PK\x03\x04"},
            deployment(hashlib.sha256(b"PK\x03\x04").hexdigest()),
            "is not acceptable",
            True,
        ),
    ],
)
async def test_a_bundle_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, objects: dict[str, bytes], wish: Deployment, said: str, for_good: bool
) -> None:
    with pytest.raises(NoBundle, match=said) as refused:
        await bundles_of(Store(objects), tmp_path).get(wish)
    assert refused.value.for_good == for_good
    assert not [path for path in (tmp_path / "bundles").iterdir() if path.name != DIGEST]


async def test_a_store_that_does_not_answer_is_asked_three_times(tmp_path: Path) -> None:
    with pytest.raises(NoBundle, match="could not be fetched: TimeoutError") as refused:
        await bundles_of(Store({DIGEST: WHEEL}, failures=3), tmp_path).get(deployment())
    assert not refused.value.for_good


OLD, PREVIOUS, NOW, OTHER = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
ON_DISK = [Kept(OLD, "ping", 1.0), Kept(PREVIOUS, "ping", 2.0), Kept(NOW, "ping", 3.0), Kept(OTHER, "gone", 4.0)]


@pytest.mark.parametrize(
    ("wanted", "functions", "goes"),
    [
        ({NOW}, {"ping"}, [OTHER, OLD]),
        ({NOW, OLD}, {"ping"}, [OTHER]),
        ({PREVIOUS}, {"ping"}, [OTHER, OLD]),
        ({OTHER, NOW}, {"ping"}, [OLD]),
        (set(), set(), [OTHER, NOW, PREVIOUS, OLD]),
    ],
    ids=["newest deployed", "old one still runs", "rolled back", "deleted one still runs", "nothing deployed"],
)
def test_what_runs_is_deployed_or_was_before_stays(wanted: set[str], functions: set[str], goes: list[str]) -> None:
    assert surplus(ON_DISK, wanted, functions) == goes


async def test_what_no_longer_serves_is_removed_and_fetched_again_when_it_does(tmp_path: Path) -> None:
    store = Store({DIGEST: WHEEL})
    kept = bundles_of(store, tmp_path)
    await kept.get(deployment())
    assert await kept.prune(lambda: {DIGEST}, {"ping"}) == []
    assert await kept.prune(set, {"ping"}) == [], "it may be rolled back to"
    assert await kept.prune(set, set()) == [DIGEST]
    assert list((tmp_path / "bundles").iterdir()) == []
    await kept.get(deployment())
    assert store.reads == [DIGEST] * 2


async def test_a_bundle_that_a_worker_begins_to_need_meanwhile_stays(tmp_path: Path) -> None:
    kept = bundles_of(Store({DIGEST: WHEEL}), tmp_path)
    await kept.get(deployment())
    asked: list[set[str]] = [{DIGEST}, set()]
    assert await kept.prune(asked.pop, set()) == []
    assert asked == []


async def test_what_a_killed_runtime_left_half_done_is_removed(tmp_path: Path) -> None:
    (tmp_path / "bundles" / ".abc.1" / "code").mkdir(parents=True)
    (tmp_path / "bundles" / ".abc.1" / "code").chmod(0o555)
    bundles_of(Store({}), tmp_path)
    assert list((tmp_path / "bundles").iterdir()) == []
