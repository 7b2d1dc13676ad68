"""Nodes that take no new work, by the word of their own runtimes. No I/O; times are monotonic."""

from __future__ import annotations

from contracts.modules import DOWN_AFTER_S, Health

_S = 1_000_000_000


class Nodes:
    """What runtimes said of their nodes in the last seconds; labels are those of the node."""

    def __init__(self) -> None:
        self._draining: dict[str, tuple[dict[str, str], int]] = {}

    def heard(self, health: Health, now_ns: int) -> None:
        """A heartbeat of a runtime, whose name is its node's."""
        if health.state == "draining":
            self._draining[health.instance] = (health.labels, now_ns)
        else:
            self._draining.pop(health.instance, None)

    def draining(self, now_ns: int) -> dict[str, dict[str, str]]:
        """Nodes that drain, with their labels. One that is silent is not told apart from one that is gone."""
        since = now_ns - int(DOWN_AFTER_S * _S)
        return {node: labels for node, (labels, at_ns) in self._draining.items() if at_ns > since}
