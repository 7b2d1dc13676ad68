"""`python -m contracts.spec`: write the generated files beside this one."""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.spec.generate import files


def main() -> int:
    """Write every file that differs, and say which."""
    folder = Path(__file__).parent
    for name, text in files().items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"wrote {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
