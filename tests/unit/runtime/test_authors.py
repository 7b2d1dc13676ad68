"""Whose bundles a node runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import signatures
from contracts.errors import InvalidField
from contracts.functions import Deployment, Manifest, Signature, Upload
from contracts.settings import BadSetting
from runtime import settings
from runtime.authors import Authors, NoList, Untrusted, admitted
from tests.kit.authors import STRANGER, TRUSTED, UNTRUSTED, WHEN, uploaded

DIGEST, OTHER = "a" * 64, "b" * 64
WISH = Deployment(
    function="ping", version="1.0.0", digest=DIGEST, manifest=Manifest(summary="x"), uploads=uploaded(DIGEST)
)


def by_stranger() -> Deployment:
    return replace(WISH, uploads=uploaded(DIGEST, STRANGER))


def test_what_a_trusted_author_signed_runs_and_is_known_by_its_origin() -> None:
    found, own = admitted(WISH, {TRUSTED}, third_parties=False)
    assert own
    assert (found.digest, found.author, found.uploader, found.uploaded) == (DIGEST, TRUSTED, "tester", WHEN)


ALTERED: dict[str, tuple[Callable[[], Deployment], str]] = {
    "unsigned": (lambda: replace(WISH, uploads={}), "is not signed"),
    "signature of another digest": (
        lambda: replace(WISH, uploads={DIGEST: uploaded(OTHER)[OTHER]}),
        "signature: is not",
    ),
    "the digest exchanged": (lambda: replace(WISH, digest=OTHER), "is not signed"),
    "under a trusted name": (
        lambda: replace(
            WISH,
            uploads={
                DIGEST: Upload(signature=Signature(author=TRUSTED, value=signatures.sign(DIGEST, STRANGER).value))
            },
        ),
        "signature: is not",
    ),
    "not even a signature": (
        lambda: replace(WISH, uploads={DIGEST: Upload(signature=Signature(author="ada", value=""))}),
        "not an author's public key",
    ),
}


@pytest.mark.parametrize("case", ALTERED)
@pytest.mark.parametrize("third_parties", [False, True])
def test_what_is_unsigned_or_wrongly_signed_runs_nowhere(case: str, third_parties: bool) -> None:
    wish, said = ALTERED[case]
    with pytest.raises(Untrusted, match=said):
        admitted(wish(), {TRUSTED, UNTRUSTED}, third_parties=third_parties)


def test_another_authors_bundle_runs_where_third_parties_may() -> None:
    with pytest.raises(Untrusted, match=f"{UNTRUSTED} is not trusted on this node"):
        admitted(by_stranger(), {TRUSTED}, third_parties=False)
    found, own = admitted(by_stranger(), {TRUSTED}, third_parties=True)
    assert (found.author, own) == (UNTRUSTED, False), "a third party's"
    assert admitted(WISH, {TRUSTED}, third_parties=True).own


def test_a_node_that_trusts_nobody_runs_nothing() -> None:
    with pytest.raises(Untrusted):
        admitted(WISH, set(), third_parties=False)


def test_the_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "authors"
    file.write_text(f"{UNTRUSTED} a friend\n")
    authors = Authors([TRUSTED], file, third_parties=False)
    assert authors.trusted() == {TRUSTED, UNTRUSTED}
    authors.admit(by_stranger())
    file.write_text("# nobody any more\n")
    with pytest.raises(Untrusted):
        authors.admit(by_stranger())
    authors.admit(WISH)
    file.write_text("ada\n")
    with pytest.raises(NoList, match="line 1"):
        authors.admit(WISH)
    file.unlink()
    with pytest.raises(NoList, match="No such file"):
        authors.admit(WISH)


NEEDED = {
    "MMN_NATS_URL": "nats://127.0.0.1:1",
    "MMN_RUNTIME_NATS_CREDS": "x.creds",
    "MMN_RUNTIME_NODE": "n1",
    "MMN_RUNTIME_SIGNING_KEY": "x.nk",
    "MMN_RUNTIME_MEASURE_ACCOUNT": "A",
    "MMN_RUNTIME_STATE_DIR": "state",
}


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MMN_RUNTIME_TRUSTED_AUTHORS", '["ada"]', "MMN_RUNTIME_TRUSTED_AUTHORS: 'ada' is not an author's public key"),
        ("MMN_RUNTIME_TRUSTED_AUTHORS", f'["{TRUSTED[:-1]}"]', "checksum"),
        ("MMN_RUNTIME_TRUSTED_AUTHORS_FILE", "/nowhere/authors", "cannot be read"),
        ("MMN_RUNTIME_THIRD_PARTIES", "perhaps", "third_parties"),
    ],
)
def test_a_wrong_setting_stops_the_start(variable: str, value: str, said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        settings.load({**NEEDED, variable: value})


def test_without_a_setting_nobody_is_trusted() -> None:
    found = settings.load(NEEDED)
    assert found.authors().trusted() == frozenset()
    assert not found.third_parties
    with pytest.raises(InvalidField):
        replace(found, trusted_authors=["U"]).authors()
