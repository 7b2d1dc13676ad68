"""Which folders have to be covered so that other users reach what they need."""

from pathlib import Path

import pytest

from runtime.box.view import closed_above, covers


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """open/closed/a/b and open/closed/c, below a folder that everyone passes."""
    for path in ("open/closed/a/b", "open/closed/c"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "open/closed").chmod(0o700)
    return tmp_path / "open"


def test_the_topmost_closed_folder_counts(tree: Path) -> None:
    tops = [path for path in tree.parents if not path.stat().st_mode & 1]
    expected = tops[-1] if tops else tree / "closed"
    assert closed_above(tree / "closed" / "a" / "b") == expected
    assert closed_above(Path("/usr/lib")) is None


def test_what_lies_within_another_needs_no_place_of_its_own(tree: Path) -> None:
    inner, outer, other = tree / "closed/a/b", tree / "closed/a", tree / "closed/c"
    (below,) = covers([str(inner), str(outer), str(other), "/usr/lib", "/nowhere"]).values()
    assert below == [outer, other]


def test_nothing_is_covered_where_everything_is_open() -> None:
    assert covers(["/usr/lib", "/etc/hosts"]) == {}
