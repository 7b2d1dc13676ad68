"""The wheels that tests make."""

from pathlib import Path

import pytest

from contracts.bundles import inspect_wheel
from contracts.errors import InvalidField
from tests.kit.wheels import BUNDLES, FUNCTIONS, build_wheel, wheel_of


def test_a_wheel_of_a_few_words_is_valid_and_always_the_same() -> None:
    wheel = build_wheel("my-probe", "1.2.3", code="x = 1\n")
    info = inspect_wheel(wheel, filename="my_probe-1.2.3-py3-none-any.whl")
    assert (info.function, info.version, info.entry) == ("my-probe", "1.2.3", "my_probe:measure")
    assert build_wheel("my-probe", "1.2.3", code="x = 1\n") == wheel


FOLDERS = sorted(path.parent for root in (BUNDLES, FUNCTIONS) for path in root.glob("*/pyproject.toml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_bundle_folder_makes_a_valid_wheel(folder: Path) -> None:
    assert inspect_wheel(wheel_of(folder)).function == folder.name


def test_a_requirement_that_no_node_meets_is_written_down() -> None:
    with pytest.raises(InvalidField, match="nowhere"):
        inspect_wheel(build_wheel("probe", requires=["nowhere>=1"]))
