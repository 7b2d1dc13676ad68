import base64
from pathlib import Path
from typing import Any

import jwt
import pytest

from contracts import clock
from contracts.errors import MmnError, Refused
from gateway.security.roles import Role
from gateway.security.tokens import ISSUER, Tokens, token_key

KEY = b"k" * 32
NOW = clock.wall_ns() // 1_000_000_000
GOOD = {
    "iss": ISSUER,
    "sub": "ann",
    "role": "viewer",
    "iat": NOW,
    "exp": NOW + 86400,
    "jti": "x",
    "epoch": "e",
    "sid": "s",
}


def reason_of(token: str) -> str:
    with pytest.raises(Refused) as caught:
        Tokens(KEY, lifetime_s=60).read(token)
    assert caught.value.code == 401
    return caught.value.reason


def signed(claims: dict[str, Any], *, key: bytes = KEY, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def test_a_token_says_who_and_until_when() -> None:
    tokens = Tokens(KEY, lifetime_s=60)
    claims = tokens.read(tokens.issue("ann", Role.OPERATOR, epoch="e", sid="s"))
    assert (claims.sub, claims.role, claims.exp - claims.iat) == ("ann", Role.OPERATOR, 60)
    assert 50 < claims.seconds_left <= 60
    assert tokens.issue("ann", Role.OPERATOR, epoch="e", sid="s") != tokens.issue(
        "ann", Role.OPERATOR, epoch="e", sid="s"
    )


def test_an_expired_token_is_told_from_an_invalid_one() -> None:
    assert reason_of(signed({**GOOD, "exp": NOW - 10})) == "token-expired"
    assert reason_of(signed(GOOD, key=b"o" * 32)) == "token-invalid"
    assert reason_of(signed(GOOD, algorithm="HS512", key=b"k" * 64)) == "token-invalid"
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    assert reason_of(f"{header}.{signed(GOOD).split('.')[1]}.") == "token-invalid"
    assert reason_of("nonsense") == "token-invalid"


@pytest.mark.parametrize("claim", sorted(GOOD))
def test_every_claim_is_required(claim: str) -> None:
    assert reason_of(signed({name: value for name, value in GOOD.items() if name != claim})) == "token-invalid"


@pytest.mark.parametrize(
    "wrong", [{"role": "king"}, {"iss": "other"}, {"sub": 5}, {"epoch": 1}], ids=["role", "iss", "sub", "epoch"]
)
def test_claims_must_make_sense(wrong: dict[str, Any]) -> None:
    assert reason_of(signed({**GOOD, **wrong})) == "token-invalid"


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    key = token_key(path)
    assert len(key) == 32
    assert token_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["token.key"]


@pytest.mark.parametrize("text", ["", "00ff", "not hex"])
def test_a_spoilt_key_is_not_used(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token.key"
    path.write_text(text)
    with pytest.raises(MmnError, match="delete it"):
        token_key(path)
