"""URLs: which are taken, where a redirect leads, and how they are shown (RFC 3986, RFC 9110). No socket.

Texts of errors never hold any part of a URL, for it may hold a secret.
"""

from __future__ import annotations

import re

from yarl import URL

MOST_CHARACTERS = 2048
SCHEMES = ("http", "https")
_HOST = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z._-]*[0-9A-Za-z_.])?")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._-]+)?")
_AUTHORITY_WITH_USER = re.compile(r"[^/?#]*//[^/?#]*@")
_USER_INFO = re.compile(r"(?<=//)[^/?#\s]*@")
_TELLING = re.compile(
    r"(^|[_.-])(pass(word|wd)?|pwd|secret|token|jwt|api_?key|key|auth|authorization|credential|code|session(_?id)?|sig(nature)?)$",
    re.IGNORECASE,
)
_HIDDEN = "hidden"
# What the library raises on bad text; the last is a slip of its own, met with `//a@[]`-like authorities.
_UNREADABLE = (ValueError, TypeError, IndexError)


def parse(text: str) -> URL:
    """Read an absolute http or https URL without credentials; its fragment is dropped. Raises ValueError with the rule."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"must have at most {MOST_CHARACTERS} characters")
    if any(character.isspace() or not character.isprintable() for character in text) or "\\" in text:
        raise ValueError("must hold no white space, control character or backslash")
    try:
        url = URL(text)
        host, port = url.raw_host or "", url.explicit_port
    except _UNREADABLE:
        # The library's words would quote the URL.
        raise ValueError("is not a well-formed URL") from None
    if url.scheme not in SCHEMES:
        raise ValueError("must begin with http:// or https://")
    # An empty user name, as in http://@host/, is one that the library does not tell of.
    if url.raw_user is not None or url.raw_password is not None or _AUTHORITY_WITH_USER.match(text):
        raise ValueError("must hold no user name or password: parameters are stored and shown with the result")
    if not (_ADDRESS if ":" in host else _HOST).fullmatch(host) or len(host) > 253:
        raise ValueError("must hold a host name or address")
    if port == 0:
        raise ValueError("must hold a port from 1 to 65535")
    return url.with_fragment(None)


def redirected(base: URL, location: str) -> URL:
    """Say where a Location header leads (RFC 9110 section 10.2.2), without the credentials it may hold.

    Raises ValueError with the rule that it breaks.
    """
    if len(location) > MOST_CHARACTERS:
        raise ValueError(f"is longer than {MOST_CHARACTERS} characters")
    try:
        joined = base.join(URL(location))
        clean = joined.with_user(None) if joined.raw_user is not None or joined.raw_password is not None else joined
        return parse(str(clean))
    except _UNREADABLE as error:
        rule = str(error) if isinstance(error, ValueError) and str(error).startswith(("must ", "is ")) else None
        raise ValueError(rule or "is not a well-formed URL") from None


def shown(url: URL) -> str:
    """Write a URL for the report: no credentials, and no values under telling names in its query."""
    clean = url.with_fragment(None)
    if clean.raw_user is not None or clean.raw_password is not None:
        clean = clean.with_user(None)
    if any(_TELLING.search(name) for name in clean.query):
        clean = clean.with_query(
            [(name, _HIDDEN if _TELLING.search(name) else value) for name, value in clean.query.items()]
        )
    return str(clean)


def shown_reference(text: str) -> str:
    """Write a URL or a part of one, as it came in a header field, for the report."""
    try:
        return shown(URL(text))
    except _UNREADABLE:
        return without_credentials(text)


def without_credentials(text: str) -> str:
    """Take user names and passwords out of every URL in free text."""
    return _USER_INFO.sub("", text)


def port_of(url: URL) -> int:
    """The port given, or the scheme's."""
    return url.port or (443 if url.scheme == "https" else 80)
