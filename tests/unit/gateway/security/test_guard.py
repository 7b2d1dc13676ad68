import base64

import pytest

from contracts.errors import Refused
from gateway.security.guard import Guard, basic, bearer, needed
from gateway.security.roles import Role
from gateway.security.tokens import Tokens


def test_each_role_covers_those_below_it() -> None:
    assert [[role.covers(other) for other in Role] for role in Role] == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]


def test_a_route_that_nobody_listed_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        needed("DELETE", "/api/v1/everything")
    assert caught.value.code == 403


def test_the_role_of_this_moment_counts_and_not_the_token_s() -> None:
    roles = {"ann": Role.ADMIN}
    tokens = Tokens(b"k" * 32, lifetime_s=60)
    guard = Guard(tokens, lambda claims: roles.get(claims.sub))
    token = tokens.issue("ann", Role.ADMIN, epoch="e", sid="s")
    assert guard.admit(token, Role.ADMIN).role is Role.ADMIN
    roles["ann"] = Role.VIEWER
    with pytest.raises(Refused, match="this needs the role admin"):
        guard.admit(token, Role.ADMIN)
    del roles["ann"]
    with pytest.raises(Refused) as caught:
        guard.admit(token, Role.VIEWER)
    assert caught.value.code == 401


def test_basic_credentials_are_read() -> None:
    assert basic("Basic " + base64.b64encode(b"ann:a:b").decode()) == ("ann", "a:b")


@pytest.mark.parametrize("header", [None, "", "Basic", "Basic !!", "Basic YQ==", "Bearer eA==", "Basic /w=="])
def test_malformed_credentials_are_not_authenticated(header: str | None) -> None:
    with pytest.raises(Refused) as caught:
        basic(header)
    assert caught.value.code == 401


def test_a_bearer_token_is_read() -> None:
    assert bearer("bearer abc") == "abc"
    with pytest.raises(Refused):
        bearer("Basic abc")
