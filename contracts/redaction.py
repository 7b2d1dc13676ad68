"""The one redactor, for log lines, events, results, errors, traces and the audit log.

`redact` is for what people read to see how the network does: credentials in URLs, tokens, NATS seeds and JWTs, e-mail
addresses, client addresses, and values under telling names are hidden. `conceal` is for jobs and results: credentials only.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "[redacted]"
_SECRET_NAMES = re.compile(
    r"pass(word|wd)?$|secret|token|seed|credential|authorization|cookie|api_?key|private", re.IGNORECASE
)
_CLIENT_NAMES = re.compile(r"^(client|remote|peer)(_?(addr|address|ip|host))?$", re.IGNORECASE)
_LONGEST_TEXT = 16 * 1024
"""Longer text is cut first: it comes from targets and exceptions, and redacting must not take long."""
_DEEPEST = 128
"""What lies deeper is hidden as a whole: no data may exhaust the stack of whoever redacts."""
# Every repetition is bounded, or text made for it would take time in its square.
_CREDENTIALS = (
    (re.compile(r"(?<=://)[^\s/?#]{1,512}@"), HIDDEN + "@"),
    (
        re.compile(r"\b(authorization\s*[:=]\s*)\S{1,2048}(?:[ \t]+\S{1,2048})?", re.IGNORECASE),
        r"\1" + HIDDEN,
    ),
    (re.compile(r"\b(?:Bearer|Basic|Token)\s+[A-Za-z0-9+/_.=-]{8,2048}", re.IGNORECASE), HIDDEN),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{0,1024}"), HIDDEN),
    (re.compile(r"\bS[OANUXC][A-Z2-7]{56}\b"), HIDDEN),
    (
        re.compile(r"\b((?:access_?)?token|passw(?:or)?d|secret|api_?key|credential)=[^\s&\"']{1,2048}", re.IGNORECASE),
        r"\1=" + HIDDEN,
    ),
)
_PATTERNS = (
    *_CREDENTIALS,
    (re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}\b"), HIDDEN),
)
_SUSPECT = re.compile(r"://|[@=]|authorization|bearer|basic|token|eyj|\bs[oanuxc][a-z2-7]{56}")
"""Where none of it is in a text of lower case, no pattern matches. Most of what a job says has none."""


def redact_text(text: str) -> str:
    """Hide what looks like a credential or a person in free text."""
    return _hide(cut(text, _LONGEST_TEXT), _PATTERNS)


def cut(text: str, most: int) -> str:
    """The beginning of a long text, before it is looked through. No word is cut: half a credential looks like none."""
    return text if len(text) <= most else f"{text[:most].rpartition(' ')[0]} [cut]"


def redact(value: Any, name: str = "", *, depth: int = 0) -> Any:
    """Hide secrets in plain data, by the name a value stands under and by what it looks like."""
    if depth > _DEEPEST:
        return HIDDEN
    if name and (_SECRET_NAMES.search(name) or _CLIENT_NAMES.match(name)) and value not in (None, "", False, True):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {redact_text(str(key)): redact(item, str(key), depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [redact(item, depth=depth + 1) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(str(value))


def conceal(value: Any, name: str = "", *, depth: int = 0) -> Any:
    """Hide credentials in plain data of a job, its parameters above all, and leave what was measured as it is.

    Unlike log lines, results are about addresses, may hold an e-mail address that a name server answered,
    and know numbers under names such as `seed`.
    """
    if isinstance(value, str):
        return HIDDEN if value and _SECRET_NAMES.search(name) else conceal_text(value)
    if depth > _DEEPEST:
        return HIDDEN
    if isinstance(value, Mapping):
        return {conceal_text(str(key)): conceal(item, str(key), depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [conceal(item, name, depth=depth + 1) for item in value]
    return value


def conceal_text(text: str) -> str:
    """Hide what looks like a credential, and leave addresses and persons."""
    return _hide(text, _CREDENTIALS)


def _hide(text: str, patterns: Iterable[tuple[re.Pattern[str], str]]) -> str:
    # Of letters beyond ASCII some are capitals of others, for patterns in their own way.
    if text.isascii() and not _SUSPECT.search(text.lower()):
        return text
    for pattern, instead in patterns:
        text = pattern.sub(instead, text)
    return text
