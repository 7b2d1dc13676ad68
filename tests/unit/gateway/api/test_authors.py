"""Whose bundles the network takes, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from contracts import signatures
from contracts.errors import MmnError
from contracts.functions import Upload
from gateway.__main__ import first_authors
from gateway.authors import Author, Authors
from gateway.security.roles import API, Role
from tests.kit.authors import AUTHOR, STRANGER, TRUSTED, UNTRUSTED, headers, signature_of
from tests.kit.wheels import build_wheel
from tests.unit.gateway.plane import Plane

WHEEL = build_wheel("echo")
NEXT = build_wheel("echo", "1.1.0")
SIGNED = headers(WHEEL)[signatures.HEADER]


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[httpx.AsyncClient]:
    async with plane.client(Role.ADMIN) as client:
        yield client


async def upload(client: httpx.AsyncClient, wheel: bytes, signature: str | None = None, **query: Any) -> httpx.Response:
    sent = headers(wheel) if signature is None else {**headers(wheel), signatures.HEADER: signature}
    return await client.post(f"{API}/bundles", content=wheel, headers=sent, params=query)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["reason"]


REFUSED = {
    "empty": ("", 400, "unsigned"),
    "no signature": ("no signature", 400, "bad-signature"),
    "truncated": (SIGNED[:-3], 400, "bad-signature"),
    "of another wheel": (headers(NEXT)[signatures.HEADER], 400, "wrong-signature"),
    "in another's name": (SIGNED.replace(TRUSTED, UNTRUSTED), 400, "wrong-signature"),
    "of a stranger": (headers(WHEEL, STRANGER)[signatures.HEADER], 403, "author-not-trusted"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_unsigned_or_wrongly_signed_is_neither_stored_nor_deployed(
    case: str, plane: Plane, client: httpx.AsyncClient
) -> None:
    line, status, reason = REFUSED[case]
    assert told(await upload(client, WHEEL, line)) == (status, reason)
    assert not plane.network.stored
    assert not plane.network.known


async def test_an_unsigned_upload_is_told_how_to_sign_and_an_untrusted_one_what_an_admin_may_do(
    client: httpx.AsyncClient,
) -> None:
    media = {"Content-Type": "application/octet-stream"}
    unsigned = await client.post(f"{API}/bundles", content=WHEEL, headers=media)
    assert told(unsigned) == (400, "unsigned")
    assert "mmn key sign WHEEL" in unsigned.json()["detail"]
    form = await client.post(f"{API}/bundles", files={"file": ("echo.whl", WHEEL)})
    assert told(form) == (400, "unsigned")
    strange = await upload(client, WHEEL, headers(WHEEL, STRANGER)[signatures.HEADER])
    assert f"mmn authors trust {UNTRUSTED}" in strange.json()["detail"]


async def test_a_wheel_is_not_opened_before_its_signature_is_right(client: httpx.AsyncClient) -> None:
    assert told(await upload(client, b"no zip", SIGNED)) == (400, "wrong-signature")
    assert told(await upload(client, b"no zip")) == (400, "not-a-zip")


async def test_an_author_is_trusted_listed_and_distrusted(plane: Plane, client: httpx.AsyncClient) -> None:
    line = headers(WHEEL, STRANGER)[signatures.HEADER]
    made = await client.put(f"{API}/authors/{UNTRUSTED}", json={"name": "eve"})
    assert (made.status_code, made.json()["name"], made.json()["by"]) == (200, "eve", "admin")
    again = await client.put(f"{API}/authors/{UNTRUSTED}", json={})
    assert again.json() == made.json(), "to trust again changes nothing"
    listed = (await client.get(f"{API}/authors", headers=plane.headers(Role.VIEWER))).json()
    assert [one["key"] for one in listed] == [TRUSTED, UNTRUSTED]
    assert (await upload(client, WHEEL, line)).status_code == 201

    gone = await client.delete(f"{API}/authors/{UNTRUSTED}")
    assert gone.json() == {"key": UNTRUSTED, "runs": [{"function": "echo", "version": "1.0.0", "on_its_way": False}]}
    assert told(await upload(client, WHEEL, line)) == (403, "author-not-trusted")
    assert told(await client.delete(f"{API}/authors/{UNTRUSTED}")) == (404, "no-such-author")
    for key, status in (("U" + "A" * 55, 400), ("ada", 400)):
        assert (await client.put(f"{API}/authors/{key}", json={})).status_code == status


async def test_a_deployment_keeps_who_signed_and_who_uploaded_each_version(client: httpx.AsyncClient) -> None:
    first = (await upload(client, WHEEL)).json()
    ours = first["uploads"][first["digest"]]
    assert (ours["signature"]["author"], ours["by"]) == (TRUSTED, "admin")
    both = (await upload(client, NEXT, at_once=True)).json()
    assert both["uploads"][first["digest"]] == ours
    assert both["uploads"][both["digest"]]["signature"] == {"author": TRUSTED, "value": signature_of(NEXT).value}
    back = (await client.post(f"{API}/functions/echo/rollback")).json()
    assert (back["version"], back["uploads"]) == ("1.0.0", both["uploads"])
    assert (back["uploaded_by"], back["uploaded_at"]) == ("admin", ours["at"])


async def test_whoever_signs_the_same_wheel_again_becomes_its_author(client: httpx.AsyncClient) -> None:
    first = (await upload(client, WHEEL)).json()
    await client.put(f"{API}/authors/{UNTRUSTED}", json={})
    second = await upload(client, WHEEL, headers(WHEEL, STRANGER)[signatures.HEADER])
    assert second.status_code == 200
    assert second.json()["uploads"][first["digest"]]["signature"]["author"] == UNTRUSTED
    assert second.json()["version"] == "1.0.0"


async def test_a_version_of_an_author_trusted_no_more_neither_comes_back_nor_takes_over(
    client: httpx.AsyncClient,
) -> None:
    await client.put(f"{API}/authors/{UNTRUSTED}", json={})
    await upload(client, WHEEL, headers(WHEEL, STRANGER)[signatures.HEADER])
    await upload(client, NEXT, at_once=True)
    third = build_wheel("echo", "1.2.0")
    await upload(client, third, headers(third, STRANGER)[signatures.HEADER])
    gone = (await client.delete(f"{API}/authors/{UNTRUSTED}")).json()
    assert gone["runs"] == [{"function": "echo", "version": "1.2.0", "on_its_way": True}]
    assert told(await client.post(f"{API}/functions/echo/promote")) == (403, "author-not-trusted")
    ended = await client.post(f"{API}/functions/echo/rollback")
    assert (ended.status_code, ended.json()["version"]) == (200, "1.1.0"), "to end a rollout is always allowed"
    assert told(await client.post(f"{API}/functions/echo/rollback")) == (403, "author-not-trusted")


async def test_an_altered_record_does_not_bring_an_old_version_back(plane: Plane, client: httpx.AsyncClient) -> None:
    first = (await upload(client, WHEEL)).json()
    held = (await upload(client, NEXT, at_once=True), plane.network.known["echo"])[1]
    altered: list[tuple[dict[str, Upload], str]] = [
        ({}, "unsigned"),
        ({first["digest"]: Upload(signature=signature_of(NEXT))}, "wrong-signature"),
    ]
    for uploads, reason in altered:
        plane.network.known["echo"] = replace(held, uploads=uploads)
        assert told(await client.post(f"{API}/functions/echo/rollback")) == (400, reason)


async def test_the_first_authors_are_those_of_the_file_and_only_at_first(plane: Plane, tmp_path: Path) -> None:
    file = tmp_path / "authors"
    file.write_text(f"{TRUSTED} our own\n")
    wish = replace(plane.parts.settings, trusted_authors_file=file)
    plane.network.trusted = None
    await first_authors(wish, plane.parts.network)
    assert [(one.key, one.name) for one in (await plane.network.authors()).trusted] == [(TRUSTED, "our own")]
    # Whoever was distrusted by an admin does not come back with the next start.
    plane.network.trusted = Authors()
    await first_authors(wish, plane.parts.network)
    assert (await plane.network.authors()).trusted == []
    file.write_text("nonsense\n")
    with pytest.raises(MmnError, match="line 1"):
        await first_authors(wish, plane.parts.network)


def test_no_list_trusts_anybody_by_itself() -> None:
    assert not Authors().trusted
    both = Authors().trusting(Author(key=TRUSTED)).trusting(Author(key=UNTRUSTED, name="eve"))
    assert both.without(TRUSTED) == Authors(trusted=[Author(key=UNTRUSTED, name="eve")])
    assert signature_of(WHEEL, AUTHOR).author == TRUSTED
