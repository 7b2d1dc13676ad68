"""An author's way from a key to a result, and what becomes of it when the author is trusted no more."""

from pathlib import Path
from typing import Any

import pytest

from contracts import signatures
from gateway.cli.exits import Exit
from gateway.cli.identities import OWN_AUTHOR
from tests.kit.authors import headers
from tests.kit.eventually import eventually_sync
from tests.kit.network import RunningNetwork, finished
from tests.kit.wheels import build_wheel

CODE = """
from runtime.sdk import Context, Params, Report


class Nothing(Params, frozen=True):
    pass


class Done(Report, frozen=True):
    done: bool


async def measure(params: Nothing, ctx: Context) -> Done:
    return Done(done=True)
"""


@pytest.mark.timeout(180)
def test_an_author_is_refused_until_trusted_and_again_when_trusted_no_more(
    network: RunningNetwork, tmp_path: Path
) -> None:
    mmn, key = network.mmn, str(tmp_path / "author.key")
    author = mmn("key", "new", key, "-o", "json").json()["author"]
    first = str(tmp_path / "strangers-1.0.0-py3-none-any.whl")
    Path(first).write_bytes(build_wheel("strangers", code=CODE))

    refused = mmn("deploy", first, "--key", key)
    assert refused.code == Exit.NOT_ALLOWED, refused
    command = f"mmn authors trust {author}"
    assert command in " ".join(refused.err.split())

    trusted = mmn(*command.split()[1:], "--name", "a stranger")
    assert trusted.code == 0, trusted
    deployed = mmn("deploy", first, "--key", key)
    assert deployed.code == 0, deployed
    assert "n1: ready" in deployed.out
    assert f"signed by {author}, uploaded by admin" in mmn("functions", "show", "strangers").out
    api = network.api
    provenance = measured(network)["provenance"]
    digest = api.get("/functions/strangers").json()["deployment"]["digest"]
    assert (provenance["author"], provenance["digest"], provenance["uploader"]) == (author, digest, "admin")
    assert provenance["uploaded"].startswith("20")
    assert [one["name"] for one in api.get("/authors").json()] == [OWN_AUTHOR, "a stranger"]

    gone = mmn("authors", "distrust", author)
    assert gone.code == 0, gone
    said = " ".join(gone.err.split())
    assert "strangers 1.0.0 of this author is deployed and goes on running" in said
    assert "mmn functions disable strangers" in said
    wheel = build_wheel("strangers", "1.1.0", code=CODE)
    again = api.post("/bundles", content=wheel, headers=headers(wheel, signatures.author_of(Path(key).read_text())))
    assert (again.status_code, again.json()["reason"]) == (403, "author-not-trusted")
    # The nodes of this machine have followed: a new start is refused, and people see why.
    assert api.post("/functions/strangers/restart").status_code == 200
    reason = f"author {author} is not trusted on this node"
    eventually_sync(lambda: reason in api.get("/functions/strangers").text, within=20)
    # What ran before still does: a refused successor takes no worker away.
    assert measured(network)["data"] == {"done": True}
    assert api.delete("/functions/strangers").status_code == 204


def measured(network: RunningNetwork) -> dict[str, Any]:
    job = network.api.post("/jobs", json={"function": "strangers"}).json()["job"]
    return finished(network.api, job)
