"""Lock files hold exact versions with hashes, and nothing about the machine or the registry they came from."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bootstrap.lock")

REQUIREMENT = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^ ;\\]+)( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
COMMENT = re.compile(r" *#[^/\\]*")


def locked(name: str) -> dict[str, str]:
    """Read the exact versions out of a lock file."""
    found = (REQUIREMENT.fullmatch(line) for line in (ROOT / name).read_text().splitlines())
    return {match["name"]: match["version"] for match in found if match}


def declared() -> Mapping[str, Iterable[str]]:
    """Read the requirements each lock file has to meet."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    named = [text for group in groups.values() for text in group if isinstance(text, str)]
    runtime = project["project"]["dependencies"]
    build = project["build-system"]["requires"]
    return {
        "requirements.lock": [*runtime, *build],
        "requirements-dev.lock": [*runtime, *build, *named],
        "requirements-bootstrap.lock": ["uv", "setuptools"],
    }


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_only_versions_hashes_and_plain_comments(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    odd = [line for line in lines if not any(rule.fullmatch(line) for rule in (REQUIREMENT, HASH, COMMENT))]
    assert not odd, "a registry host, a path or an option has no place here"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_meets_what_is_declared(name: str) -> None:
    versions = locked(name)
    for text in declared()[name]:
        requirement = Requirement(text)
        version = versions.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in {name}: run make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{text} is not met by {version}"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-bootstrap.lock"])
def test_the_smaller_locks_agree_with_the_full_one(name: str) -> None:
    assert locked(name).items() <= locked("requirements-dev.lock").items()
