import pytest

from contracts import functions
from contracts.errors import InvalidField
from contracts.failure import BLAME, Code

MANIFEST = b'summary = "x"\nneeds = ["icmp"]\n[limits]\nconcurrency = 2\n'


@pytest.mark.parametrize("version", ["1.0.0", "0.0.1", "10.20.30"])
def test_major_minor_patch_is_a_version(version: str) -> None:
    assert functions.check_version(version) == version


@pytest.mark.parametrize("version", ["1", "1.0", "1.0.0.0", "01.0.0", "1.0.0rc1", "1.0.0-1", "v1.0.0", "", "1.0.٣"])
def test_anything_else_is_not(version: str) -> None:
    with pytest.raises(InvalidField, match=r"MAJOR\.MINOR\.PATCH"):
        functions.check_version(version)


@pytest.mark.parametrize("name", ["Echo", "1echo", "e_cho", "", "e" * 64, "-a", "a.b", "é"])
def test_a_function_name_keeps_the_rule(name: str) -> None:
    with pytest.raises(InvalidField):
        functions.check_name(name)


def test_a_manifest_is_read_with_its_defaults() -> None:
    manifest = functions.read_manifest(MANIFEST)
    assert manifest.needs == ["icmp"]
    assert manifest.limits == functions.Limits(concurrency=2)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b'summary = "x"\nnedes = []', "nedes"),
        (b'summary = "x"\nneeds = ["root"]', "needs"),
        (b'summary = "x"\n[limits]\nconcurrency = 0', "concurrency"),
        (b"", "summary"),
        (b"summary = ", "function.toml"),
        (b"\xff", "function.toml"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_by_field(text: bytes, names: str) -> None:
    with pytest.raises(InvalidField, match=names):
        functions.read_manifest(text)


def test_a_deployment_matches_nodes_by_labels() -> None:
    wish = functions.Deployment(
        function="echo", version="1.0.0", digest="a" * 64, manifest=functions.read_manifest(MANIFEST), match={"s": "1"}
    )
    assert wish.wants_node({"s": "1", "t": "2"})
    assert not wish.wants_node({"t": "2"})


def test_every_failure_code_has_its_blame() -> None:
    assert set(BLAME) == set(Code)
