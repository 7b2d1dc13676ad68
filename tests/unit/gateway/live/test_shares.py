from contextlib import ExitStack

import pytest

from gateway.live import shares as module
from gateway.live.shares import Shares


def test_a_user_has_so_many_sockets_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOCKETS", 2)
    shares = Shares()
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(shares.socket("ann")) for _ in range(3))
        assert first is second is not None
        assert third is None
        assert stack.enter_context(shares.socket("bob")) is not None
    assert shares._shares == {}
    with shares.socket("ann") as again:
        assert again is not None
