"""What confines a worker. Applied in the forked child, before any code of a bundle exists in it.

spec      what one worker may do                       levels    what holds on this node, and what is open
enter     the steps into the box, in order             probe     how that is found out
user, view, landlock, seccomp (bpf, syscalls)          the measures
kernel    the calls that they are made of              paths     what every worker may read
"""

from __future__ import annotations

from runtime.box.enter import enter
from runtime.box.levels import MEASURES, NOTHING, Found, Level, Measure, gaps, level, reaches
from runtime.box.paths import identities
from runtime.box.probe import Plan, look
from runtime.box.spec import Spec
from runtime.box.user import Users

__all__ = [
    "MEASURES",
    "NOTHING",
    "Found",
    "Level",
    "Measure",
    "Plan",
    "Spec",
    "Users",
    "enter",
    "gaps",
    "identities",
    "level",
    "look",
    "reaches",
]
