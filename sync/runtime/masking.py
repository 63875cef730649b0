"""Masks e-mail addresses (RFC 5322, 3.4.1) and tokens in text that should contain none.

A safety net, not a guarantee: it recognizes the usual forms and errs towards masking too much.
"""

import re

_LETTER = r"[^\s@\"'<>(),;:=\[\]{}|/\\]"
# An apostrophe within a word is part of the address; elsewhere it is a quotation mark.
_APOSTROPHE = r"(?<=\w)'(?=\w)"
# The lookbehinds allow one start position per run of characters: linear time on long text.
_PLAIN = rf"(?<!{_LETTER})(?<!\w')(?:{_LETTER}|{_APOSTROPHE})+"
# A quoted local part may contain nearly anything; within JSON its quotes are escaped.
_QUOTED = r'"(?:[^"\\]|\\.){1,64}?\\?"'
_DOMAIN = rf"(?:\[[^\s\]]{{1,256}}\]|{_LETTER}{{1,256}})"
_ADDRESS = re.compile(rf"(?:{_QUOTED}|{_PLAIN})(?:@|%40){_DOMAIN}", re.DOTALL)
# Credentials in a header (RFC 9110, 11.6.2): scheme and token.
_TOKEN = re.compile(r"(?i)\b(Bearer|Basic)(?:\s|%20|\\u0020)+[^\s\"',;\\]+")


# Of a path: a word of an endpoint, a short name, or a GUID. Anything else can be an address,
# encoded once or twice, or a token.
_SHOWN_SEGMENT = re.compile(
    r"[A-Za-z0-9._~-]{0,19}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII
)
_HIDDEN = "[...]"
_MAX_SEGMENTS = 8


def mask_path(raw_path: str) -> str:
    """Return a path without the segments that may hold personal data, and without the query."""
    segments = raw_path.partition("?")[0].split("/")
    shown = [one if _SHOWN_SEGMENT.fullmatch(one) else _HIDDEN for one in segments]
    more = len(shown) > _MAX_SEGMENTS
    return "/".join(shown[:_MAX_SEGMENTS]) + ("/" + _HIDDEN if more else "")


def mask_addresses(text: str, placeholder: str) -> str:
    """Return `text` with each e-mail address replaced by `placeholder`."""
    return _ADDRESS.sub(placeholder, text) if "@" in text or "%40" in text else text


def mask_secrets(text: str) -> str:
    """Return `text` with e-mail addresses and tokens replaced by placeholders."""
    return mask_addresses(_TOKEN.sub(r"\1 [token]", text), "[address]")
