"""What it means to forget an address: where it stands in a text, and what stays in its place.

No I/O. A body stays as it was, letter for letter, but for the strings that held the address;
and it still passes for the body that was sent, should the agent send that again.
"""

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from sync.protocol.json_equality import same_content

FORGOTTEN = "[address forgotten]"
# In a correlation id, or a name in a body, the mark bears a number: what differed still does.
_MARK = re.compile(r"\[address forgotten(?: [0-9a-f]{32})?\]")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_END_OF_NAME = re.compile(r"\s*:")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_LONGEST = 320


@dataclass(frozen=True, slots=True)
class Address:
    """An e-mail address that is to be forgotten, in upper or lower case, composed or not.

    `word` is a part of it that stands in every text that holds it, once that is in lower case
    and free of escapes; it may be empty.
    """

    word: str
    _pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address in `text`. Raises `ValueError`; the message does not repeat it."""
        address = text.strip()
        local, _, domain = address.rpartition("@")
        if not local or not domain or len(address) > _LONGEST or not address.isprintable():
            raise ValueError("expected an e-mail address")
        forms = {unicodedata.normalize(form, address) for form in ("NFC", "NFD")} | {address}
        # In a URL the sign is an escape.
        spelled = "|".join(re.escape(form).replace("@", "(?:@|%40)") for form in sorted(forms))
        # Not the end of a longer address, nor the beginning of a longer domain.
        pattern = re.compile(rf"(?<![\w.+-])(?:{spelled})(?!-?\w|\.\w)", re.IGNORECASE)
        words = _ASCII_WORD.findall(unicodedata.normalize("NFC", address).lower())
        return cls(max(words, key=len, default=""), pattern)

    def stands_in(self, text: str) -> bool:
        """Tell whether the address stands in a plain text."""
        return self._pattern.search(text) is not None

    def without(self, text: str, mark: str = FORGOTTEN) -> str:
        """Return a plain text with `mark` wherever the address stood."""
        return self._pattern.sub(lambda _: mark, text)

    def without_in_json(self, text: str) -> str:
        """Return a JSON text with the mark wherever the address stood, in names as well.

        The marks of names bear numbers: names of one object that differed still do.
        """
        numbers = count(len(_MARK.findall(text)))

        def clean(token: re.Match[str]) -> str:
            try:
                plain = json.loads(token[0], strict=False)
            except ValueError:
                # Not JSON after all: as a plain text it is cleaned all the same.
                return self.without(token[0])
            if not self.stands_in(plain):
                return token[0]
            number = next(numbers) if _END_OF_NAME.match(text, token.end()) else 0
            mark = new_mark(f"{number:032x}") if number else FORGOTTEN
            return json.dumps(self.without(plain, mark))

        return _JSON_STRING.sub(clean, text)


def same_body(sent: str, kept: str) -> bool:
    """Tell whether a body that is sent is the one that is kept, but for what is forgotten."""
    same = same_text if FORGOTTEN in kept else None
    return same_content(sent.encode(), kept.encode(), same_text=same)


def same_text(sent: str | None, kept: str | None) -> bool:
    """Tell whether a text that is sent is the one that is kept, but for what is forgotten."""
    if sent is None or kept is None or sent == kept:
        return sent == kept
    first, *others = _MARK.split(kept)
    if not others or not sent.startswith(first):
        return False
    *between, last = others
    at = len(first)
    # In place of each mark stood something; the nearest place that fits leaves the most for
    # those that follow.
    for piece in between:
        found = sent.find(piece, at + 1)
        if found < 0:
            return False
        at = found + len(piece)
    return len(sent) - len(last) > at and sent.endswith(last)


def new_mark(number: str) -> str:
    """Return the mark for a correlation id; `number` are 32 hexadecimal digits."""
    return f"{FORGOTTEN[:-1]} {number}]"


Numbers = Callable[[], str]
"""Gives 32 hexadecimal digits that nobody else has."""
