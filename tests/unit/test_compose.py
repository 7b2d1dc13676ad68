"""compose.yaml says the same to every reader of YAML."""

import re
from itertools import combinations
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "compose.yaml").read_text()
BLOCKS = dict(re.findall(r"^x-[a-z-]+: &([a-z-]+)\n((?:  .*\n|\n)+)", TEXT, re.MULTILINE))
TOGETHER = re.findall(r"<<: \[(.+)\]", TEXT)


def keys(name: str) -> set[str]:
    """The keys of a mapping that others merge, with those that it has merged itself."""
    own = set(re.findall(r"^  ([a-z_A-Z]+):", BLOCKS[name], re.MULTILINE))
    return own.union(*(keys(merged) for merged in re.findall(r"^  <<: \*([a-z-]+)", BLOCKS[name], re.MULTILINE)))


def test_mappings_that_are_merged_together_share_no_key() -> None:
    """Of two, the first one counts for some readers and the last one for others."""
    assert TOGETHER
    for listed in TOGETHER:
        for one, other in combinations(re.findall(r"\*([a-z-]+)", listed), 2):
            assert not keys(one) & keys(other), f"{one}, {other}"
