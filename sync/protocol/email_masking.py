"""What an e-mail address looks like in a text that ought to hold none (RFC 5322, 3.4.1).

A net and not a rule: it finds an address by its usual looks, and rather too much than too little.
"""

import re

_LETTER = r"[^\s@\"'<>(),;:=\[\]{}|/\\]"
# An apostrophe belongs to it within a word, and is a quotation mark elsewhere.
_APOSTROPHE = r"(?<=\w)'(?=\w)"
# It begins where it can begin, and nowhere later: so a long text takes no long time.
_PLAIN = rf"(?<!{_LETTER})(?<!\w')(?:{_LETTER}|{_APOSTROPHE})+"
# In quotes it may hold nearly anything; in JSON the quotes themselves are escaped.
_QUOTED = r'"(?:[^"\\]|\\.){1,64}?\\?"'
_DOMAIN = rf"(?:\[[^\s\]]{{1,256}}\]|{_LETTER}{{1,256}})"
_ADDRESS = re.compile(rf"(?:{_QUOTED}|{_PLAIN})(?:@|%40){_DOMAIN}", re.DOTALL)


def without_addresses(text: str, mark: str) -> str:
    """Return `text` with `mark` in the place of what looks like an address."""
    return _ADDRESS.sub(mark, text) if "@" in text or "%40" in text else text
