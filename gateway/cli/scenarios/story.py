"""A scenario as data: what it shows, which network it needs, and the story it plays there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contracts import streams
from gateway.cli.local import Wish
from gateway.cli.scenarios.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`summary` is one sentence; the other fields but `play` say what network to start."""

    name: str
    summary: str
    play: Callable[[Stage], Awaitable[None]]
    nodes: int = 1
    anchors: int = 1
    spare: int = 0
    queue_bound: int = streams.QUEUE_BOUND
    settings: Mapping[str, str] = field(default_factory=dict)

    def wish(self, folder: Path) -> Wish:
        """The network to start, in a folder of its own."""
        return Wish(
            folder=folder,
            port=0,
            nodes=self.nodes,
            anchors=self.anchors,
            spare=self.spare,
            queue_bound=self.queue_bound,
            # All load comes from one client.
            settings={"MMN_ANCHOR_CLIENT_RATE": "0", **self.settings},
        )
