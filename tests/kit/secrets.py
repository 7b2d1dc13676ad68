"""Planted secrets: the ways in which people put a credential where it does not belong."""

import base64
import string
from collections.abc import Callable

from hypothesis import strategies as st

SECRET = st.text(string.ascii_letters + string.digits, min_size=12, max_size=40).map(lambda text: f"s3{text}")


def _jwt(secret: str) -> str:
    return f"eyJhbGciOiJIUzI1NiJ9.{base64.urlsafe_b64encode(secret.encode()).decode().rstrip('=')}.{secret}"


WAYS: dict[str, Callable[[str], str]] = {
    "url": lambda secret: f"https://bob:{secret}@example.org/x",
    "bearer": lambda secret: f"Bearer {secret}",
    "basic": lambda secret: f"Basic {base64.b64encode(secret.encode()).decode()}",
    "header": lambda secret: f"Authorization: Digest {secret}",
    "jwt": _jwt,
    "password": lambda secret: f"password={secret}",
    "query": lambda secret: f"GET /x?a=1&access_token={secret}&b=2",
    "api key": lambda secret: f"api_key={secret}",
}
PLANTED = st.tuples(st.sampled_from(sorted(WAYS)), SECRET).map(lambda pair: (WAYS[pair[0]](pair[1]), pair[1]))
"""The text with the credential in it, and the secret itself."""
NAMES = ("password", "api_key", "apikey", "client_secret", "refresh_token", "Authorization", "Cookie", "private_key")
"""Names whose values are secret whatever they look like."""


def traces(secret: str) -> tuple[bytes, bytes]:
    """What must not be found anywhere: the secret as it is, and as Basic credentials carry it."""
    return secret.encode(), base64.b64encode(secret.encode()).rstrip(b"=")[:-1]
