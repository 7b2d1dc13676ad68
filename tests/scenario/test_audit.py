"""Who did what, as an admin sees it by the command line."""

from contextlib import closing

import pytest

from tests.kit.eventually import eventually_sync
from tests.kit.network import ApiClient, RunningNetwork

pytestmark = pytest.mark.timeout(120)
SECRET = "a word that nobody guesses"


def test_what_people_did_and_what_was_refused_is_shown_to_admins_only(network: RunningNetwork) -> None:
    added = network.mmn("users", "add", "eve", "--role", "viewer", "--password-stdin", text=SECRET)
    assert added.code == 0, added
    with closing(ApiClient(network.url, "eve", SECRET)) as eve:
        assert eve.get("/audit").status_code == 403
        assert eve.post("/functions/echo/scale", json={"workers": 2}).status_code == 403
    assert network.mmn("users", "delete", "eve").code == 0

    def told() -> list[tuple[str, ...]]:
        entries = network.mmn("audit", "-n", "20", "-o", "json").json()
        names = ("user", "action", "object", "reason")
        return [tuple(str(entry[name]) for name in names) for entry in reversed(entries)]

    expected = [
        ("admin", "put_user", "eve", ""),
        ("eve", "token", "", ""),
        ("eve", "audit", "", "forbidden"),
        ("eve", "scale", "echo", "forbidden"),
        ("admin", "delete_user", "eve", ""),
    ]
    eventually_sync(lambda: [one for one in told() if one in expected][-5:] == expected, within=20)
    shown = network.mmn("audit", "--kind", "refused", "--user", "eve")
    assert shown.out.count("forbidden") == 2
    assert "put_user" not in shown.out
    assert SECRET not in network.mmn("audit", "-o", "json").out
