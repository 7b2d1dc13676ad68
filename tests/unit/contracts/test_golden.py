"""Golden payloads: what was ever sent must be readable for ever. Files are added, never edited."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from contracts import codec
from contracts.spec.generate import MESSAGES, files, schema

ROOT = Path(__file__).parents[3] / "contracts"
GOLDEN = sorted((ROOT / "golden").glob("*.json"))


def held(old: object, new: object) -> bool:
    """Whether everything in the old payload is in the new one; within a version changes only add."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and held(value, new[key]) for key, value in old.items())
    return old == new


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_payload_decodes_and_keeps_all_it_said(path: Path) -> None:
    kind = MESSAGES[path.name.split(".")[0]]
    again = json.loads(msgspec.json.encode(codec.decode(path.read_bytes(), kind)))
    assert held(json.loads(path.read_text()), again)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@pytest.mark.parametrize("media", [codec.JSON, codec.MSGPACK, codec.CBOR])
def test_a_golden_payload_survives_every_encoding(path: Path, media: str) -> None:
    kind = MESSAGES[path.name.split(".")[0]]
    value = codec.decode(path.read_bytes(), kind)
    assert codec.decode(codec.encode(value, media), kind, media) == value


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_payload_fits_the_published_schema(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text()), schema(path.name.split(".")[0]))


def test_every_message_has_a_golden_payload() -> None:
    assert {path.name.split(".")[0] for path in GOLDEN} == set(MESSAGES)


def test_unknown_fields_of_a_message_are_ignored() -> None:
    plain = json.loads((ROOT / "golden" / "JobRequest.v1.json").read_text()) | {"tomorrow": 1}
    codec.decode(json.dumps(plain).encode(), MESSAGES["JobRequest"])


def test_the_generated_specification_is_up_to_date() -> None:
    stale = [name for name, text in files().items() if (ROOT / "spec" / name).read_text() != text]
    assert not stale, f"run `make spec`: {stale}"
    assert {path.name for path in (ROOT / "spec").glob("*.json")} == set(files())
