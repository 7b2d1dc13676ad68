import jwt
import nkeys
import pytest

from contracts.access import roles, tokens


def test_a_token_is_checked_against_its_issuer() -> None:
    signer, other = tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT), tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT)
    token = tokens.encode({"sub": "x", "nats": {}}, signer)
    assert tokens.decode(token, tokens.public(signer))["sub"] == "x"
    with pytest.raises(jwt.InvalidSignatureError):
        tokens.decode(token, tokens.public(other))


def test_a_changed_token_is_refused() -> None:
    signer = tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT)
    head, body, signature = tokens.encode({"sub": "x"}, signer).split(".")
    with pytest.raises(jwt.InvalidTokenError):
        tokens.decode(f"{head}.{body[:-2]}AA.{signature}", tokens.public(signer))


@pytest.mark.parametrize("text", ["", "UABC", "not base32!", "U" * 56])
def test_a_wrong_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="public"):
        tokens.raw_public(text)


def test_a_scoped_user_carries_no_permission_of_its_own() -> None:
    signer, key = tokens.new_key(nkeys.PREFIX_BYTE_ACCOUNT), tokens.new_user_key()
    token = tokens.user(tokens.public(key), signer, account_key="A", name="n", tags=["fn:echo"], lifetime_s=60)
    claims = tokens.decode(token, tokens.public(signer))
    assert not {"pub", "sub", "subs", "data", "payload", "resp"} & set(claims["nats"])
    assert claims["exp"] - claims["iat"] == 60
    assert len(token) < 4096


def test_a_scope_holds_the_roles_lists_and_nothing_wider() -> None:
    scope = tokens.scope("K", roles.worker("n1"))
    assert scope["template"]["pub"]["allow"] == list(roles.worker("n1").publish)
    assert scope["template"]["resp"]["max"] == 1
