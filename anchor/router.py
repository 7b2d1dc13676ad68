"""Which instance gets the next call: two random candidates, the less loaded one wins.

Queue groups choose blindly, so one worker holds two calls while another idles; looking at
everyone makes several Anchors pile onto the same idle worker. Two choices avoid both
(Mitzenmacher 2001). Pure: the caller brings candidates and the source of chance.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from anchor.registry import Instance


def choose(
    candidates: Sequence[Instance], now_ns: int, chance: random.Random, *, avoid: Collection[str] = ()
) -> Instance | None:
    """Pick an instance with a free slot, or None when there is none.

    Who is up, not pressed, below its learned limit and not ejected has one (`Instance.free`).
    Instances in `avoid` are taken only when nobody else is there at all, busy or not.
    """
    others = [instance for instance in candidates if instance.id not in avoid] if avoid else candidates
    free = [instance for instance in (others or candidates) if instance.free(now_ns) > 0]
    if not free:
        return None
    first, second = chance.choice(free), chance.choice(free)
    return first if first.load <= second.load else second
