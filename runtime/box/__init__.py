"""What confines a worker. Applied in the forked child, before any code of a bundle exists in it.

Every measure is a step of `enter`. The level says which of them hold: at present B4, the
process limits alone, which is for bundles of one's own.
"""

from __future__ import annotations

from runtime.box.enter import LEVEL, Spec, enter

__all__ = ["LEVEL", "Spec", "enter"]
