"""Masks e-mail addresses (RFC 5322, 3.4.1) in text that should contain none.

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


def without_addresses(text: str, mark: str) -> str:
    """Return `text` with each address replaced by `mark`."""
    return _ADDRESS.sub(mark, text) if "@" in text or "%40" in text else text
