"""What keeps a node from running what it should: told in its heartbeat for as long as it is true."""

from __future__ import annotations

from contracts import clock
from contracts.modules import Trouble
from runtime.reconciler import Slot

MOST_TOLD = 32
_LONGEST_REASON = 300


class Troubles:
    """The last failure of every slot that has had no ready worker since."""

    def __init__(self) -> None:
        self._known: dict[Slot, Trouble] = {}

    def failed(self, slot: Slot, version: str, reason: str, *, given_up: bool) -> None:
        """A worker of this slot ended by itself, or was killed; `given_up`: it has no successor."""
        self._known[slot] = Trouble(
            function=slot.function,
            version=version,
            reason=reason[:_LONGEST_REASON],
            given_up=given_up,
            since=clock.utc_now(),
        )

    def over(self, slot: Slot) -> None:
        """A worker of this slot is ready."""
        self._known.pop(slot, None)

    def forget(self, function: str, digest: str | None = None) -> None:
        """Somebody wishes something else for this function or one version of it, or the same anew."""
        self._known = {
            slot: trouble
            for slot, trouble in self._known.items()
            if slot.function != function or digest not in {None, slot.digest}
        }

    def told(self) -> list[Trouble]:
        """One line for each version of a function, the hopeless first."""
        by_version = {(one.function, one.version, one.given_up): one for one in self._known.values()}
        hopeless_first = sorted(by_version.values(), key=lambda one: (not one.given_up, one.function, one.version))
        return hopeless_first[:MOST_TOLD]
