"""A node verifies for itself what the gateway has let in: whatever lies in store and bucket is hostile input."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import streams
from contracts.bus import Bus
from contracts.functions import Deployment, Upload
from tests.kit.authors import AUTHOR, STRANGER, TRUSTED, UNTRUSTED, WHEN, signature_of, uploaded
from tests.kit.eventually import eventually
from tests.kit.nats_server import NatsServer
from tests.kit.node import Announcements, Node, call, deploy, put_deployment, stored_result
from tests.kit.rollouts import start_rollout
from tests.kit.wheels import FUNCTIONS, build_wheel, wheel_of

ECHO = wheel_of(FUNCTIONS / "echo")
CODE = "raise RuntimeError('it was run')\n"


def unpacked(node: Node) -> set[str]:
    """What of bundles lies on the node, half-done things included."""
    return {path.name for path in (node.state_dir / "bundles").iterdir()}


async def put(gateway: Bus, name: str, data: bytes) -> None:
    """Put anything into the bundle store under a digest's name."""
    await (await gateway.js.object_store(streams.OBJECTS_BUNDLES)).put(name, data)


async def test_a_result_tells_where_the_code_came_from(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    assert node is not None
    deployment = await deploy(gateway, ECHO)
    reply, _ = await call(anchor, "echo", (await announced.next("ready", "echo")).instance)
    found = (await stored_result(gateway, reply.job)).provenance
    assert found is not None
    assert (found.digest, found.author) == (deployment.digest, TRUSTED)
    assert (found.uploader, found.uploaded) == ("tester", WHEN)


async def test_nothing_that_is_not_rightly_signed_is_unpacked_and_the_node_says_why(
    node: Node, gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    good = await deploy(gateway, ECHO)
    instance = (await announced.next("ready", "echo")).instance
    cases: dict[str, tuple[dict[str, Upload], str]] = {}

    def wheel(name: str) -> bytes:
        return build_wheel(name, code=CODE)

    def digest(name: str) -> str:
        return hashlib.sha256(wheel(name)).hexdigest()

    cases["unsigned"] = ({}, "the bundle is not signed")
    cases["stranger"] = (uploaded(digest("stranger"), STRANGER), f"author {UNTRUSTED} is not trusted on this node")
    # The signature of another wheel, and the record of another digest.
    cases["replayed"] = ({digest("replayed"): Upload(signature=signature_of(ECHO))}, "signature: is not")
    cases["misfiled"] = (good.uploads, "the bundle is not signed")
    renamed = replace(signature_of(wheel("renamed"), STRANGER), author=TRUSTED)
    cases["renamed"] = ({digest("renamed"): Upload(signature=renamed)}, "signature: is not")
    cut = replace(signature_of(wheel("cut"), AUTHOR), value=signature_of(wheel("cut")).value[:-4])
    cases["cut"] = ({digest("cut"): Upload(signature=cut)}, "signature.value: must be 64 bytes")
    for name, (uploads, _) in cases.items():
        await deploy(gateway, wheel(name), uploads=uploads)
    for name, (_, said) in cases.items():
        refused = await announced.next("failed", name)
        assert said in refused.reason, refused
        assert not announced.of("started", name)
    assert unpacked(node) == {good.digest}
    await call(anchor, "echo", instance)
    assert announced.of("ready", "echo") == announced.of("ready", "echo", instance=instance), "nothing else was hurt"


async def test_a_wheel_changed_in_the_store_is_refused_whatever_was_signed(
    node: Node, gateway: Bus, announced: Announcements
) -> None:
    good = build_wheel("ping", code="x = 1\n")
    name = hashlib.sha256(good).hexdigest()
    changed = build_wheel("ping", code=CODE)
    await put(gateway, name, changed)
    wish = await deploy(gateway, good)
    refused = await announced.next("failed", "ping")
    assert "has another content than its name says" in refused.reason
    # An altered record that names the changed wheel has no signature for it.
    other = hashlib.sha256(changed).hexdigest()
    await put(gateway, other, changed)
    altered = replace(wish, digest=other, uploads={other: wish.uploads[name]})
    await put_deployment(gateway, altered)
    refused = await announced.next("failed", "ping", digest=other)
    assert "signature: is not" in refused.reason
    assert unpacked(node) == set()


async def test_a_version_on_its_way_is_verified_like_the_one_that_runs(
    node: Node, gateway: Bus, announced: Announcements
) -> None:
    assert node is not None
    await deploy(gateway, ECHO)
    await announced.next("ready", "echo")
    version = wheel_of(FUNCTIONS / "echo", version="9.0.0")
    await start_rollout(gateway, version, by=STRANGER)
    refused = await announced.next("failed", "echo", version="9.0.0")
    assert f"author {UNTRUSTED} is not trusted" in refused.reason
    assert len(announced.of("ready", "echo")) == 1
    assert not announced.of("draining", "echo"), "the version that runs is left alone"


@pytest.fixture
async def listed(server: NatsServer, announced: Announcements, tmp_path: Path) -> AsyncIterator[tuple[Node, Path]]:
    """A node that reads a file of authors, and trusts nobody else."""
    assert announced is not None
    file = tmp_path / "authors"
    file.write_text(f"{UNTRUSTED} a friend\n")
    node = Node(server, trusted_authors="[]", trusted_authors_file=str(file))
    await node.start()
    try:
        yield node, file
    finally:
        await node.close()


async def test_who_is_distrusted_meanwhile_is_refused_at_the_next_start_and_signing_anew_helps(
    listed: tuple[Node, Path], gateway: Bus, anchor: Bus, announced: Announcements
) -> None:
    node, file = listed
    wish: Deployment = await deploy(gateway, ECHO, uploads=uploaded(hashlib.sha256(ECHO).hexdigest(), STRANGER))
    first = await announced.next("ready", "echo")
    file.write_text(f"{TRUSTED}\n")
    # What runs goes on until its next start, and the bundle is unpacked already.
    await call(anchor, "echo", first.instance)
    assert unpacked(node) == {wish.digest}
    await put_deployment(gateway, replace(wish, workers=2))
    refused = await announced.next("failed", "echo")
    assert f"author {UNTRUSTED} is not trusted" in refused.reason
    await call(anchor, "echo", first.instance)
    # Somebody whom the node trusts signs the very same wheel: no new version is needed.
    await put_deployment(gateway, replace(wish, workers=2, uploads=uploaded(wish.digest)))

    async def served() -> bool:
        return len(announced.of("ready", "echo")) >= 2

    await eventually(served, within=20)
    second = announced.of("ready", "echo")[-1]
    reply, _ = await call(anchor, "echo", second.instance)
    provenance = (await stored_result(gateway, reply.job)).provenance
    assert provenance is not None
    assert provenance.author == TRUSTED
