"""Header fields: which may be sent, and which of the received ones are shown (RFC 9110). No socket."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from http_probe.urls import shown_reference, without_credentials
from runtime.sdk import Report

FIELD_NAME = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
FIELD_VALUE = r"^[\t -~]*$"
USER_AGENT = "mmn-http-probe/1.0"

_TOKEN = re.compile(FIELD_NAME.strip("^$"))
_HOST = re.compile(r"[0-9A-Za-z._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
# About one connection (RFC 9110 section 7.6.1) or the framing of a body: these are the probe's to say.
_HOP_BY_HOP = {
    "connection", "content-length", "expect", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
_SECRET = {"authorization", "cookie", "proxy-authorization"}
# Harmless with any host, so they go along with a redirect elsewhere.
_GO_ANYWHERE = {"accept", "accept-encoding", "accept-language", "cache-control", "pragma", "user-agent"}

_MOST_SHOWN = 64
_MOST_VALUE = 1024
_REDACTED = "[redacted]"
_NOT_SHOWN = {
    "authentication-info", "authorization", "cookie", "proxy-authenticate", "proxy-authentication-info",
    "set-cookie", "set-cookie2", "www-authenticate",
}  # fmt: skip
_URLS = {"content-location", "location"}


class Header(Report, frozen=True):
    """A received header field. `value` may be redacted or cut."""

    name: str
    value: str


def check(headers: Mapping[str, str]) -> None:
    """Check fields that a caller wants to send. Raises ValueError naming the field's name and the rule, not its value."""
    seen: set[str] = set()
    for name, value in headers.items():
        low = name.lower()
        if not _TOKEN.fullmatch(name):
            raise ValueError("names must be tokens (RFC 9110 section 5.1)")
        if low in seen:
            raise ValueError(f"{name} must not be given twice")
        seen.add(low)
        if low in _HOP_BY_HOP:
            raise ValueError(f"{name} is about the connection and cannot be set")
        if low in _SECRET:
            raise ValueError(f"{name} cannot be set: parameters are stored and shown with the result")
        if low == "host" and not _HOST.fullmatch(value):
            raise ValueError(f"{name} must be a host name or address, and perhaps a port")
        if any(not (" " <= character <= "~" or character == "\t") for character in value):
            raise ValueError(f"the value of {name} must be printable ASCII")


def to_send(given: Mapping[str, str], *, same_host: bool) -> dict[str, str]:
    """Make the fields of a request. To another host than was asked for go only those that tell nothing."""
    sent = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    for name, value in given.items():
        if same_host or name.lower() in _GO_ANYWHERE:
            for default in [default for default in sent if default.lower() == name.lower()]:
                del sent[default]
            sent[name] = value
    return sent


def to_show(raw: Iterable[tuple[bytes, bytes]]) -> tuple[list[Header], bool]:
    """Make what the report shows of received fields, in their order. The second value: some were left out or cut."""
    listed: list[Header] = []
    cut = False
    for name, value in raw:
        if len(listed) == _MOST_SHOWN:
            return listed, True
        shown_name, text = name.decode("ascii", "replace")[:128], value.decode("utf-8", "replace")
        if shown_name.lower() in _NOT_SHOWN:
            text = _REDACTED
        else:
            text = shown_reference(text) if shown_name.lower() in _URLS else without_credentials(text)
        cut = cut or len(text) > _MOST_VALUE
        listed.append(Header(name=shown_name, value=text[:_MOST_VALUE]))
    return listed, cut


def size(raw: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of the received fields as HTTP/1.1 writes them: name, colon, space, value, line end."""
    return sum(len(name) + len(value) + 4 for name, value in raw)
