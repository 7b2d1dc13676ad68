"""A bundle as its author has it: a folder with a pyproject.toml, not yet a wheel."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InvalidField
from contracts.functions import ENTRY_POINT_GROUP, Manifest, check_name, check_version, read_manifest
from runtime.sdk.function import Function, load_entry


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """What a bundle folder says about itself."""

    path: Path
    name: str
    version: str
    entry: str
    manifest: Manifest

    @classmethod
    def read(cls, path: Path) -> BundleFolder:
        """Read `pyproject.toml` and `<package>/function.toml`. Raises InvalidField naming file, field and rule."""
        try:
            project = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        except FileNotFoundError as error:
            raise InvalidField(str(path), "has no pyproject.toml, so it is not a bundle folder") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidField("pyproject.toml", str(error)) from error
        entries = project.get("entry-points", {}).get(ENTRY_POINT_GROUP, {})
        if len(entries) != 1:
            rule = f"must hold exactly one entry point, not {len(entries)}"
            raise InvalidField(f'pyproject.toml: [project.entry-points."{ENTRY_POINT_GROUP}"]', rule)
        ((name, entry),) = entries.items()
        check_name(name, at=f"pyproject.toml: entry point {name}")
        if name != project.get("name"):
            raise InvalidField("pyproject.toml: project.name", f"must be {name}, like the entry point")
        version = check_version(str(project.get("version", "")), at="pyproject.toml: project.version")
        package = entry.partition(":")[0].partition(".")[0]
        manifest = path / package / "function.toml"
        try:
            text = manifest.read_bytes()
        except FileNotFoundError as error:
            raise InvalidField(f"{package}/function.toml", "is missing") from error
        return cls(path, name, version, entry, read_manifest(text))

    def load(self) -> Function:
        """Import the function. Raises InvalidFunction."""
        return Function.load(load_entry(self.entry, self.path))
